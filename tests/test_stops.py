import pytest
from hypothesis import given
from hypothesis import strategies as st

from conftest import ROOT
from gpt2.encoder import END_OF_TEXT, read_encoder
from gpt2.stops import Text, overlap

ENC = read_encoder(ROOT / 'models' / 'demo')


def fed(ids, stops=(), size=1, include_stop=False):
    """The Text of ids, some at a time, and what each `add` gave."""
    text = Text(ENC, stops, include_stop)
    pieces = [text.add(ids[i : i + size]) for i in range(0, len(ids), size)]
    return text, [*pieces, text.finish()]


@pytest.mark.parametrize(
    'whole, stops, expected, ended',
    [
        ('one two three', [], 'one two three', 'length'),
        ('one two three', ['two'], 'one ', 'stop'),
        ('one two three', ['three', 'two'], 'one ', 'stop'),
        ('one two three', ['twofold', 'o t'], 'one tw', 'stop'),
        ('abcabd.', ['abd'], 'abc', 'stop'),
        ('aaab', ['aab'], 'a', 'stop'),
        ('xabcd', ['abcd', 'bc'], 'xa', 'stop'),  # the first that is whole
        ('xabc', ['bc', 'abc'], 'x', 'stop'),  # the longest that ends there
        ('ROMEO:\nAy me!\n\nJULIET', ['\n\n'], 'ROMEO:\nAy me!', 'stop'),
        ('naïve 😀 é', ['😀'], 'naïve ', 'stop'),
        (
            'it ends with the beginning of st',
            ['stop'],
            'it ends with the beginning of st',
            'length',
        ),
        ('<|endoftext|> as letters', [END_OF_TEXT], '<|endoftext|> as letters', 'length'),
    ],
)
def test_stops_across_the_borders_of_tokens(whole, stops, expected, ended):
    ids = ENC.encode(whole)
    for size in (1, 2, 3, len(ids)):
        text, pieces = fed(ids, stops, size)
        assert (text.text, text.ended) == (expected, ended)
        assert ''.join(pieces) == expected
        kept, _ = fed(ids, stops, size, include_stop=True)
        rest = kept.text.removeprefix(expected)
        assert rest in stops if ended == 'stop' else not rest


def test_what_may_begin_a_stop_is_held_back():
    text = Text(ENC, ['stop!'])
    shown = ''
    for number, letter in enumerate('do not sto'):
        shown += text.add(ENC.encode(letter))
        assert shown == 'do not sto'[: number + 1].removesuffix('sto'[: max(0, number - 6)])
    assert text.add(ENC.encode('re')) == 'store'


def test_half_a_character_is_held_back():
    ids = ENC.encode('😀')
    assert len(ids) > 1
    text = Text(ENC)
    assert [text.add([i]) for i in ids] == [''] * (len(ids) - 1) + ['😀']
    text = Text(ENC)
    text.add(ids[:-1])
    assert text.finish() == '\ufffd' and text.text == '\ufffd'


def test_the_end_of_text_is_a_token():
    ids = [*ENC.encode('Ay.'), ENC.end_of_text, *ENC.encode('No.')]
    text, _ = fed(ids, [END_OF_TEXT], 2)
    assert (text.text, text.ended, len(text.tokens)) == ('Ay.', 'stop', len(ENC.encode('Ay.')) + 1)
    assert fed(ids, [END_OF_TEXT], 9, include_stop=True)[0].text == 'Ay.' + END_OF_TEXT
    assert fed(ids)[0].text == f'Ay.{END_OF_TEXT}No.'
    half = [*ENC.encode('😀')[:-1], ENC.end_of_text]
    assert fed(half, [END_OF_TEXT])[0].text == '\ufffd'


def test_log_probabilities_are_of_the_tokens_drawn():
    ids = ENC.encode('one two three')
    text = Text(ENC, [' two'])
    text.add(ids, [-0.5] * len(ids))
    assert len(text.tokens) == len(text.log_probs) < len(ids)
    assert text.log_probability == -0.5 * len(text.tokens)
    assert ' two' in ENC.decode(text.tokens) and ' two' not in ENC.decode(text.tokens[:-1])


@given(st.text('ab', max_size=12), st.lists(st.text('ab', min_size=1, max_size=4), max_size=3))
def test_pieces_do_not_matter(whole, stops):
    """And it is the stop that is whole first."""
    ids = ENC.encode(whole)
    ends = [(whole.find(stop) + len(stop), -len(stop)) for stop in stops if stop in whole]
    expected = whole[: min(ends)[0] + min(ends)[1]] if ends else whole
    for size in (1, 2, 5):
        text, pieces = fed(ids, stops, size)
        assert text.text == ''.join(pieces) == expected


def test_overlap():
    assert overlap('one tw', 'two') == 2
    assert [overlap(text, 'aab') for text in ('', 'a', 'aa', 'aaa', 'aab', 'ab')] == [
        0,
        1,
        2,
        2,
        0,
        0,
    ]
