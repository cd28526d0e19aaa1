"""The page in a real browser: what somebody does with it, and sees."""

import json
import time

import pytest

from chromium import PATH, tab
from live import serve_live  # noqa: F401  a fixture

pytestmark = pytest.mark.skipif(PATH is None, reason='no Chromium is installed')
TEXT = "document.getElementById('text')"


class Page:
    """What one can do with the page of a live server."""

    def __init__(self, tab, live):
        self.tab, self.live = tab, live

    def open(self, width=1200, scheme='light'):
        self.tab.look(width, 900, scheme)
        self.tab.open(self.live.url)
        self.until("document.getElementById('model').value === 'demo'")
        self.tab.run('localStorage.clear()')
        return self

    def until(self, condition):
        end = time.monotonic() + 20
        while not self.tab.run(condition):
            assert time.monotonic() < end, condition
            time.sleep(0.02)

    def type(self, text):
        self.tab.click(TEXT)
        self.tab.call('Input.insertText', text=text)

    def key(self, name, code, **more):
        key = {'key': name, 'code': name, 'windowsVirtualKeyCode': code}
        for kind in ('keyDown', 'keyUp'):
            self.tab.call('Input.dispatchKeyEvent', type=kind, **key, **more)

    def click(self, name):
        self.tab.click(f"document.getElementById('{name}')")

    def set(self, **fields):
        for name, value in fields.items():
            self.tab.run(f'set({json.dumps(name)}, {json.dumps(value)})')

    def end(self):
        self.until('running === null')

    @property
    def text(self):
        return self.tab.run('written()')

    def shown(self, name):
        script = f"(e => e.hidden ? '' : e.textContent)(document.getElementById('{name}'))"
        return self.tab.run(script)


@pytest.fixture(scope='module')
def browser(tmp_path_factory):
    with tab(tmp_path_factory.mktemp('profile')) as opened:
        yield opened


@pytest.fixture
def page(browser, live):
    return Page(browser, live).open()


def test_types_and_continues(page, live):
    page.set(temperature=0, top_k=0, max_tokens=27)
    page.type('ROMEO:')
    page.key('Enter', 13, modifiers=2)
    page.until('running === null && document.querySelectorAll(".token").length > 5')
    expected = live.engine.model.generate('ROMEO:', length=27, temperature=0)
    assert page.text == 'ROMEO:' + expected
    assert '27 tokens' in page.shown('status')
    assert expected.endswith('\n')
    page.type(' And')  # behind it: the text is one, and editable
    page.set(max_tokens=3)
    page.click('go')
    page.until(f'running === null && written().length > {len(expected) + 12}')
    assert page.text.startswith('ROMEO:' + expected + ' And')
    page.click('undo')
    assert page.text == 'ROMEO:' + expected + ' And'
    page.click('undo')
    assert page.text == 'ROMEO:'
    assert page.tab.run("document.getElementById('undo').disabled")
    assert 'exception' not in json.dumps(page.tab.complaints())


def test_new_lines_are_those_that_were_typed(page):
    page.type('ROMEO:')
    for _ in range(2):
        page.key('Enter', 13, text='\r')
    assert page.tab.run('body().prompt') == 'ROMEO:\n\n'
    page.tab.call('Input.insertText', text='Good')
    assert page.tab.run('body().prompt') == 'ROMEO:\n\nGood'


def test_hovering_tells_probabilities_until_the_text_is_another(page):
    page.set(temperature=0, max_tokens=5)
    page.type('Good night, good')
    page.click('go')
    page.until('document.querySelectorAll(".token").length > 3')
    page.end()
    page.tab.hover("document.querySelector('.token')")
    page.until("!document.getElementById('tip').hidden")
    first, *others = page.shown('tip').splitlines()
    assert first.startswith('▸') and '%' in first and len(others) == 4
    count = page.tab.run('document.querySelectorAll(".token").length')
    page.tab.run("document.querySelector('.token').firstChild.data += 'x'")
    page.tab.run(f"{TEXT}.dispatchEvent(new Event('input'))")
    assert page.tab.run('document.querySelectorAll(".token").length') == count - 1


def test_stops_and_begins_again(page, live):
    page.set(max_tokens=200, stop='', seed=3)
    page.type('JULIET:')
    page.click('go')
    page.until('document.querySelectorAll(".token").length > 3')
    page.click('stop')
    page.end()
    assert live.idle()
    cut = page.text
    assert len(cut) > len('JULIET:')
    page.set(max_tokens=8)
    page.click('again')
    page.until('running === null && document.querySelectorAll(".token").length > 3')
    assert page.text.startswith('JULIET:') and len(page.text) < len('JULIET:') + 80


def test_samples_side_by_side(page):
    page.set(n=3, max_tokens=10, temperature=1)
    page.type('ROMEO:')
    page.click('go')
    page.until('running === null && document.querySelectorAll(".sample").length === 3')
    texts = page.tab.run('[...document.querySelectorAll(".sample div")].map(e => e.textContent)')
    assert len(set(texts)) == 3 and page.text == 'ROMEO:'
    page.tab.click('document.querySelectorAll(".sample button")[1]')
    assert page.text == 'ROMEO:' + texts[1]
    page.click('undo')
    assert page.text == 'ROMEO:'


def test_text_is_only_ever_text(page, live, monkeypatch):
    """A prompt, a token, an error and a model's name, each of them a script."""
    evil = '<script>window.hurt = 1</script><img src=x onerror="window.hurt = 1">'
    ids = live.engine.model.enc.encode(evil)
    page.type(evil)
    bias = {str(ids[0]): 100}
    page.tab.run(f'body = (old => () => ({{...old(), logit_bias: {json.dumps(bias)}}}))(body)')
    page.set(max_tokens=5)
    page.click('go')
    page.until('document.querySelectorAll(".token").length > 3')
    page.end()
    assert page.text.startswith(evil)
    page.tab.hover("document.querySelector('.token')")
    page.set(seed=evil)
    page.click('go')
    page.until("!document.getElementById('error').hidden")
    assert '<script>' in page.shown('error')
    monkeypatch.setitem(live.app.engines, evil, live.engine)
    page.tab.run('findModels()')
    page.until("document.getElementById('model').options.length === 2")
    assert page.tab.run("document.getElementById('model').options[1].textContent") == evil
    assert page.tab.run('window.hurt') is None
    assert page.tab.run('document.querySelectorAll("main script, main img").length') == 0


def test_errors_are_sentences(page, live, monkeypatch):
    page.type('word ' * 300)
    page.click('go')
    page.until("!document.getElementById('error').hidden")
    assert page.shown('error').startswith("This model's maximum context length is 256 tokens")
    assert page.shown('error').endswith('.') and page.text == 'word ' * 300
    monkeypatch.setattr(live.app, 'key', 'secret')
    page.click('go')
    page.until("document.getElementById('error').textContent.includes('key')")
    assert page.shown('error') == 'The API key is wrong or missing.'
    page.tab.run("document.getElementById('key').value = 'secret'")
    page.tab.run(f"{TEXT}.textContent = 'a'")
    page.set(max_tokens=2)
    page.click('go')
    page.until('document.querySelectorAll(".token").length > 0')
    page.end()
    assert page.shown('error') == ''


def test_what_is_copied_runs(page, live, tmp_path):
    import os
    import subprocess
    import sys

    page.set(temperature=0, max_tokens=5, top_k=0, stop='\\n\\n')
    page.type('it\'s "so"\n$HOME `x` \\ é:')
    expected = live.engine.model.generate(page.text, length=5, temperature=0, stop='\n\n')
    page.click('curl')
    code = page.tab.run("document.querySelector('#code pre').textContent")
    done = subprocess.run(['bash', '-c', code + ' -s'], capture_output=True, timeout=60)
    assert json.loads(done.stdout)['choices'][0]['text'] == expected
    page.tab.run("document.getElementById('code').close()")
    page.click('python')
    code = page.tab.run("document.querySelector('#code pre').textContent")
    done = subprocess.run(
        [sys.executable, '-c', code], capture_output=True, text=True, timeout=60, env=os.environ
    )
    assert done.stdout == expected + '\n', done.stderr


@pytest.mark.parametrize('scheme', ['light', 'dark'])
def test_a_phone_and_both_themes(browser, live, scheme):
    page = Page(browser, live).open(width=390, scheme=scheme)
    assert page.tab.run('document.documentElement.scrollWidth') <= 390
    back = page.tab.run('getComputedStyle(document.body).backgroundColor')
    assert (back == 'rgb(23, 24, 27)') == (scheme == 'dark')
    assert page.tab.run("document.getElementById('parameters').open") is False
    page.set(max_tokens=3)
    page.type('a')
    page.click('go')
    page.until('document.querySelectorAll(".token").length > 0')
    page.end()
    page.tab.run("document.getElementById('parameters').open = true")
    assert page.tab.run('document.documentElement.scrollWidth') <= 390


def test_presets_and_ranges(page):
    page.tab.run(
        "(p => { p.value = 'Most probable'; p.dispatchEvent(new Event('change')) })"
        "(document.getElementById('preset'))"
    )
    asked = page.tab.run('body()')
    assert (asked['temperature'], asked['top_k'], asked['top_p']) == (0, 0, 1)
    assert page.tab.run("document.getElementById('max_tokens').max") == '256'
