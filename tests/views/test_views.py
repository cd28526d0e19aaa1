"""The pages, in a real Chromium where there is one, and what view.py writes."""

import base64
import json
import re

import numpy as np
import pytest

import chromium
import gpt2
from gpt2 import views
from gpt2.errors import UserError
from gpt2.hparams import HParams
from gpt2.model import norm, predict
from gpt2.views import pages

TEXT = 'Good </script> 안녕, 😀 night\n<b>&amp;'
WIDE, PHONE = (1000, 900), (390, 800)


@pytest.fixture(scope='module')
def demo():
    return gpt2.load('demo')


@pytest.fixture(scope='module')
def tab(tmp_path_factory):
    if chromium.PATH is None:
        pytest.skip(f'none of {", ".join(chromium.NAMES)} is installed')
    with chromium.tab(tmp_path_factory.mktemp('profile')) as tab:
        yield tab


@pytest.fixture
def open_page(tab, tmp_path):
    """Opens a page from a file; at the end, it has neither complained nor asked for anything."""

    def open_page(page, size=WIDE, scheme='light'):
        (tmp_path / 'page.html').write_text(page.html, encoding='utf-8')
        tab.look(*size, scheme)
        tab.open((tmp_path / 'page.html').as_uri())
        return tab

    yield open_page
    assert tab.complaints() == []


def data_of(page):
    [text] = re.findall('<script id="data" type="application/json">(.*?)</script>', page.html, re.S)
    return json.loads(text)


# What the pages hold


def test_weights_are_those_of_the_model(demo):
    data, weights = data_of(views.attention(demo, TEXT)), demo.attentions(TEXT)
    n = len(data['ids'])
    expected = weights[:, :, np.tri(n, dtype=bool)]
    found = np.frombuffer(base64.b64decode(data['weights']), np.uint8).reshape(expected.shape)
    np.testing.assert_allclose(found / 255, expected, atol=0.5 / 255 + 1e-6)


def test_figures_are_those_of_the_model(demo):
    data = data_of(views.predictions(demo, TEXT))
    ids = demo.enc.encode(TEXT)
    assert data['ids'] == ids and len(data['best']) == len(data['layers']) == len(ids)
    bits = [-p / np.log(2) for _, p in demo.log_probs(TEXT)]
    np.testing.assert_allclose(data['bits'], bits, atol=2e-3)
    assert data['perplexity'] == pytest.approx(2 ** np.mean(bits), rel=1e-4)
    logits = demo.logits(TEXT)
    assert (
        data['ranks'] == (logits[:-1] > logits[range(len(ids) - 1), ids[1:], None]).sum(1).tolist()
    )
    for place in (0, len(ids) - 1):
        expected = demo.next_tokens(ids[: place + 1], k=10)
        told = [(demo.enc.decode([token]), p) for token, p in data['best'][place]]
        assert [p for _, p in told] == pytest.approx([p for _, p in expected], rel=2e-3)
        assert {text for text, _ in told} == {text for text, _ in expected}
    for layer, state in enumerate(demo.hidden_states(TEXT)):
        expected = predict(demo.params, norm(state, demo.params['ln_f'])).numpy()
        probs = np.exp(expected - expected.max(-1, keepdims=True))
        probs /= probs.sum(-1, keepdims=True)
        tokens, found = zip(*(place[layer] for place in data['layers']), strict=True)
        assert found == pytest.approx(probs.max(-1), rel=2e-3)
        assert probs[range(len(ids)), tokens] == pytest.approx(probs.max(-1), rel=2e-3)


def test_a_single_token_has_no_perplexity(demo):
    data = data_of(views.predictions(demo, [7]))
    assert (data['perplexity'], data['bits'], len(data['best'])) == (None, [], 1)


def test_tokens_are_decoded_from_their_bytes():
    assert pages.shown(b' the') == {'text': ' the', 'bytes': '20 74 68 65', 'part': False}
    assert pages.shown('안'.encode())['text'] == '안'
    assert pages.shown(b' \xec') == {'text': ' \\xec', 'bytes': '20 ec', 'part': True}
    assert pages.shown('\x1b\u202e'.encode())['text'] == '\\x1b\\u202e'  # would turn the page
    assert pages.shown(b'\\xec')['part'] is False


class Shaped:
    """A stand-in for a model of 12 layers of 12 heads, with the demo's encoder."""

    hparams = HParams(1024, 1024, 768, 12, 12)

    def __init__(self, enc):
        self.enc = enc

    def attentions(self, ids):
        weights = np.random.default_rng(0).random([12, 12, len(ids), len(ids)])
        return weights / weights.sum(-1, keepdims=True)


def test_a_page_of_128_tokens_is_small(demo):
    page = views.attention(Shaped(demo.enc), [7] * 128)
    assert len(page.html.encode()) < 1_700_000


def test_a_page_of_128_tokens_opens(demo, open_page):
    tab = open_page(views.attention(Shaped(demo.enc), [7] * 128))
    assert tab.run("find('from').children.length") == 128
    tab.click("find('to-model')")
    assert tab.run("document.querySelectorAll('#grid canvas').length") == 144


def test_what_is_no_page_is_a_sentence(demo):
    for text, options, sentence in [
        ([TEXT, TEXT], {}, 'a page shows one text; call it for each'),
        (TEXT, {'layer': 99}, 'layer is from 0 to [0-9]+, not 99'),
        (TEXT, {'heads': [0, 99]}, 'heads is from 0 to [0-9]+, not 99'),
        ('', {}, 'the context is empty'),
    ]:
        with pytest.raises(UserError, match=sentence):
            views.attention(demo, text, **options)
    with pytest.raises(
        UserError, match='1000 tokens would make a page of 96 MB; shorten .* to 576'
    ):
        views.attention(Shaped(demo.enc), [7] * 1000)
    with pytest.raises(UserError, match='a page shows one text'):
        views.predictions(demo, [TEXT, TEXT])


# In a browser


def lines(tab):
    """The heads whose lines are drawn, how many lines, and how many pixels they have."""
    ink = tab.run("""(canvas => {
        const {width, height} = canvas
        const copy = new OffscreenCanvas(width, height).getContext('2d')
        copy.drawImage(canvas, 0, 0)
        return copy.getImageData(0, 0, width, height).data.filter((x, i) => i % 4 === 3 && x).length
    })(find('lines'))""")
    drawn = tab.run('drawn')
    return {head for _, head, _, _ in drawn}, len(drawn), ink


def bytes_of(text):
    """'\\\\xc3\\\\xaf' -> 'ï'."""
    return bytes.fromhex(text.replace('\\x', '')).decode()


def tokens(tab, place):
    return tab.run(f"[...document.querySelectorAll('{place}')].map(x => x.textContent)")


@pytest.mark.parametrize('size', [WIDE, PHONE], ids=['wide', 'phone'])
@pytest.mark.parametrize('scheme', ['light', 'dark'])
@pytest.mark.parametrize('make', [views.attention, views.predictions])
def test_fits_the_screen_in_both_themes(demo, open_page, make, scheme, size):
    tab = open_page(make(demo, TEXT), size, scheme)
    assert tab.run('document.scrollingElement.scrollWidth') <= size[0]
    back = tab.run('getComputedStyle(document.body).backgroundColor')
    assert back == ('rgb(255, 255, 255)' if scheme == 'light' else 'rgb(13, 17, 23)')
    assert len(tab.screenshot()) > 10_000


def test_tokens_are_shown_as_they_are(demo, open_page):
    tab = open_page(views.attention(demo, TEXT))
    shown = tokens(tab, '#from li')
    assert shown == tokens(tab, '#to li')
    whole = re.sub(r'(\\x[0-9a-f]{2})+', lambda x: bytes_of(x[0]), ''.join(shown))
    assert whole == TEXT.replace(' ', '·').replace('\n', '↵')
    assert '\\x' in ''.join(tokens(tab, '#from .part')) or '안' in shown
    assert '\\x' not in ''.join(tokens(tab, '#from li:not(.part)'))
    assert tab.run("document.querySelectorAll('b').length") == 0


def test_a_click_on_a_head_changes_the_lines(demo, open_page):
    tab = open_page(views.attention(demo, TEXT, layer=1, heads=[0, 2]))
    assert tab.run("find('layer').value") == '1'
    before = lines(tab)
    assert before[0] == {0, 2} and before[2] > 1000
    tab.click("find('heads').children[1]")
    assert lines(tab)[0] == {0, 1, 2} and lines(tab)[2] > before[2]
    assert tab.run("find('heads').children[1].getAttribute('aria-pressed')") == 'true'
    tab.click("find('heads').children[0]")
    assert lines(tab)[0] == {1, 2}
    tab.click("find('none')")
    assert lines(tab) == (set(), 0, 0)
    tab.click("find('all')")
    everything = lines(tab)
    assert len(everything[0]) == demo.hparams.n_head
    tab.run("find('layer').value = 3; find('layer').dispatchEvent(new Event('change'))")
    assert lines(tab)[1:] != everything[1:]


def test_a_hover_isolates_the_lines_of_a_token(demo, open_page):
    tab = open_page(views.attention(demo, TEXT, heads=[1]))
    weights = np.rint(255 * demo.attentions(TEXT)[0, 1])
    _, all_lines, all_ink = lines(tab)
    assert all_lines == np.count_nonzero(weights)
    tab.hover("find('from').children[5]")
    assert lines(tab)[1] == np.count_nonzero(weights[5]) and 0 < lines(tab)[2] < all_ink
    told = tab.run("[...find('to').children].map(x => x.dataset.percent ?? '')")
    assert [float(x.strip('%') or 0) for x in told] == pytest.approx(weights[5] / 2.55, abs=0.51)
    tab.hover("find('to').children[2]")
    assert lines(tab)[1] == np.count_nonzero(weights[:, 2])
    tab.hover("document.querySelector('h1')")
    assert lines(tab)[1:] == (all_lines, all_ink)


def test_the_keyboard_isolates_too(demo, open_page):
    tab = open_page(views.attention(demo, TEXT))
    tab.run("find('from').children[0].focus()")
    tab.press('ArrowDown')
    tab.press('ArrowDown')
    assert tab.run("[...find('from').children].findIndex(x => x.matches('.looked'))") == 2
    tab.press('End')
    n = len(demo.enc.encode(TEXT))
    assert tab.run("[...find('from').children].findIndex(x => x.matches('.looked'))") == n - 1


def test_the_model_view_opens_and_a_click_enlarges(demo, open_page):
    tab = open_page(views.attention(demo, TEXT))
    assert tab.run("find('model').checkVisibility()") is False
    tab.click("find('to-model')")
    assert tab.run("find('model').checkVisibility()") is True
    assert tab.run("find('head-view').checkVisibility()") is False
    pictures = tab.run("document.querySelectorAll('#grid canvas').length")
    assert pictures == demo.hparams.n_layer * demo.hparams.n_head
    tab.click('document.querySelector(\'[aria-label="Layer 2, head 3"]\')')
    assert tab.run("find('head-view').checkVisibility()") is True
    assert tab.run("find('layer').value") == '2' and lines(tab)[0] == {3} and lines(tab)[2] > 1000


def test_a_place_shows_what_was_expected_there(demo, open_page):
    tab = open_page(views.predictions(demo, TEXT))
    assert 'Perplexity' in tab.run("find('whole').textContent")
    assert tab.run("find('chosen').textContent") == 'Next: what would come after the text'
    expected = [text.replace(' ', '·').replace('\n', '↵') for text, _ in demo.next_tokens(TEXT)]
    if not any('\ufffd' in text for text in expected):
        assert sorted(tokens(tab, '#best .token')) == sorted(expected)
    tab.click("find('text').children[1]")
    [(token, log_prob)] = demo.log_probs(TEXT)[:1]
    assert tab.run("find('chosen').textContent").startswith(
        f'“{token}”: {-log_prob / np.log(2):.1f} bits'
    )
    assert tokens(tab, '#best .real .token') == [token]
    assert len(tokens(tab, '#layers li')) == demo.hparams.n_layer + 1
    tab.press('ArrowLeft')
    assert 'nothing is predicted' in tab.run("find('chosen').textContent")
    assert tab.run("find('panels').checkVisibility()") is False


def test_a_notebook_shows_it_in_a_frame(demo, open_page):
    tab = open_page(pages.Page(views.attention(demo, TEXT)._repr_html_()))
    frame = 'document.querySelector("iframe").contentDocument'
    assert tab.run(f'{frame}.querySelectorAll("#from li").length') == len(demo.enc.encode(TEXT))


# view.py


def test_view_writes_pages(demo, run, tmp_path):
    for command, make in {'attention': views.attention, 'predictions': views.predictions}.items():
        done = run('view.py', command, '--prompt', TEXT, '--model_name', 'demo')
        assert (done.returncode, done.stderr) == (0, ''), done.stderr
        page = (tmp_path / f'{command}.html').read_text('utf-8')
        assert page == make(demo, TEXT).html
        n = len(demo.enc.encode(TEXT))
        assert done.stdout == f'{command}.html: {n} tokens; open it in a browser\n'
    options = ['--layer', '2', '--heads', '1,3', '--output', 'attention.html']
    run('view.py', 'attention', TEXT, '--model_name', 'demo', *options)
    page = views.attention(demo, TEXT, 2, [1, 3])
    assert (tmp_path / 'attention.html').read_text('utf-8') == page.html
