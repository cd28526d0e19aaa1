import json
import string

import hypothesis.strategies as st
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given

from conftest import DATA, write_vocabulary
from gpt2 import encoder
from gpt2.encoder import Encoder, bytes_to_unicode, get_encoder, get_pairs, read_encoder
from gpt2.errors import UserError


def rows(name):
    return [json.loads(line) for line in (DATA / name).read_text('utf-8').splitlines()]


def letters_encoder(*merges):
    """An encoder of the bytes, the given merges ('a b' makes ab) and <|endoftext|>."""
    merges = [tuple(merge.split()) for merge in merges]
    tokens = [*bytes_to_unicode().values(), *map(''.join, merges), '<|endoftext|>']
    return Encoder({token: i for i, token in enumerate(tokens)}, merges)


@pytest.fixture
def gpt2(vocab_dir):
    return get_encoder(vocab_dir.name, vocab_dir.parent)


def test_bytes_to_unicode_is_reversible_and_printable():
    table = bytes_to_unicode()
    assert sorted(table) == list(range(256))
    assert len(set(table.values())) == 256
    assert all(c.isprintable() and not c.isspace() for c in table.values())
    assert (table[ord('A')], table[ord(' ')], table[ord('\n')]) == ('A', 'Ġ', 'Ċ')


def test_get_pairs():
    assert get_pairs(('l', 'o', 'w')) == {('l', 'o'), ('o', 'w')}
    assert get_pairs(('l',)) == set()


def test_ids_of_the_original(gpt2):
    for row in rows('tokens.jsonl'):
        assert gpt2.encode(row['text']) == row['ids']


def test_text_of_the_original(gpt2):
    for row in rows('decode.jsonl'):
        assert gpt2.decode(row['ids']) == row['text']


def test_end_of_text(gpt2):
    assert gpt2.end_of_text == 50256
    assert gpt2.end_of_text not in gpt2.encode('<|endoftext|>')


def test_same_ids_as_tiktoken(gpt2):
    tiktoken = pytest.importorskip('tiktoken')
    byte_of = {c: b for b, c in bytes_to_unicode().items()}
    peer = tiktoken.Encoding(
        'gpt2',
        pat_str=gpt2.pat.pattern,
        mergeable_ranks={
            bytes(byte_of[c] for c in token): i
            for token, i in gpt2.encoder.items()
            if token != encoder.END_OF_TEXT
        },
        special_tokens={encoder.END_OF_TEXT: gpt2.end_of_text},
    )

    # Letters that a newer Unicode has and an older has not are split in one library only.
    @given(st.text(st.characters(exclude_categories=['Cs', 'Cn'])))
    def check(text):
        assert gpt2.encode(text) == peer.encode_ordinary(text)

    check()
    english = "It isn't 1999; they'll pay $3.50 for   these\n\n\t'quoted' words. " * 20
    assert gpt2.encode(english) == peer.encode_ordinary(english)


@given(st.text(st.characters(codec='utf-8')))
def test_decode_undoes_encode(text):
    enc = letters_encoder('a b', 'ab c', 'Ġ a')
    assert enc.decode(enc.encode(text)) == text


def slow_bpe(enc, token):
    """Byte-pair encoding in rounds over the whole word, as in the original."""
    word = tuple(token)
    while pairs := [pair for pair in get_pairs(word) if pair in enc.bpe_ranks]:
        first, second = min(pairs, key=enc.bpe_ranks.get)
        merged, i = [], 0
        while i < len(word):
            both = word[i : i + 2] == (first, second)
            merged.append(first + second if both else word[i])
            i += 1 + both
        word = tuple(merged)
    return ' '.join(word)


@given(st.text('abc', min_size=1, max_size=40))
def test_merges_in_the_order_of_the_original(token):
    enc = letters_encoder('b c', 'a a', 'a b', 'aa bc', 'c c', 'aa aa', 'ab c')
    assert enc.bpe(token) == slow_bpe(enc, token)


def test_a_very_long_word_takes_no_time_to_speak_of(gpt2):
    word = ''.join(string.ascii_lowercase[i * i * 7 % 26] for i in range(200_000))
    assert gpt2.decode(gpt2.encode(word)) == word  # minutes in rounds, a second here


def test_the_cache_is_bounded(monkeypatch):
    monkeypatch.setattr(encoder, 'CACHE_WORDS', 10)
    enc = letters_encoder()
    enc.encode(' '.join(f'w{chr(97 + i % 26)}{i}' for i in range(500)))
    assert 0 < len(enc.cache) <= 10
    enc.encode('x' * 1000)
    assert 'x' * 1000 not in enc.cache


def test_lone_surrogate():
    with pytest.raises(UserError, match=r"lone surrogate, '\\ud800'.*errors='replace'"):
        letters_encoder().encode('a\ud800')


@pytest.mark.parametrize('bad', [257, -1, 10**9])
def test_id_out_of_range(bad):
    with pytest.raises(UserError, match=f'no token has the id {bad}: ids go from 0 to 256'):
        letters_encoder().decode([1, bad])


def test_broken_utf8_is_replaced_or_not():
    enc = letters_encoder()
    half = enc.encode('é')[:1]
    assert enc.decode(half) == '\ufffd'
    enc.errors = 'strict'
    with pytest.raises(UnicodeDecodeError):
        enc.decode(half)


def test_missing_vocabulary(tmp_path):
    with pytest.raises(UserError, match=r'run: python download_model.py 117M --models_dir'):
        get_encoder('117M', tmp_path)
    (tmp_path / '124M').mkdir()
    with pytest.raises(UserError, match=r'encoder\.json is missing; run: python download_model'):
        get_encoder('117M', tmp_path)


@pytest.mark.parametrize(
    'name, text',
    [
        ('encoder.json', '{"a": 0'),
        ('encoder.json', '[1, 2]'),
        ('encoder.json', '{"a": 0}'),
        ('encoder.json', b'\xff\xfe'),
        ('encoder.json', '[' * 100_000),
        ('vocab.bpe', '#version: 0.2\na b c\n'),
        ('vocab.bpe', '#version: 0.2\nno such\n'),
        ('vocab.bpe', '#version: 0.2\n\na b\n'),
    ],
)
def test_malformed_vocabulary(tmp_path, name, text):
    folder = tmp_path / '124M'
    folder.mkdir()
    write_vocabulary(folder, 300)
    get_encoder('124M', tmp_path)
    (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UserError, match=r'run: python download_model.py 124M'):
        get_encoder('124M', tmp_path)


def test_decode_in_pieces_never_shows_half_a_character(tiny):
    enc = get_encoder('tiny', tiny.parent)
    ids = enc.encode('né 日本 🎉')
    decode = enc.decode_in_pieces()
    pieces = [decode([i]) for i in ids]
    assert ''.join(pieces) == 'né 日本 🎉' and decode([], final=True) == ''
    assert '\ufffd' not in ''.join(pieces)
    cut = enc.decode_in_pieces()
    assert cut(ids[:-1]) == 'né 日本 ' and cut([], final=True) == enc.decode(ids[:-1])[-1:]


@pytest.mark.parametrize(
    'change, sentence',
    [
        (lambda tokens: tokens | {'!': 299}, 'its 300 tokens do not have the ids 0 to 299'),
        (lambda tokens: tokens | {'!': 0.0}, 'its 300 tokens do not have the ids 0 to 299'),
        (lambda tokens: tokens | {'!': False}, 'its 300 tokens do not have the ids 0 to 299'),
        (lambda tokens: tokens | {'more': 300}, "no merge makes the token 'more'"),
        (lambda tokens: tokens | {'日': 300}, "the token '日' is not spelt as bytes are"),
    ],
)
def test_a_vocabulary_that_its_merges_do_not_make(tmp_path, change, sentence):
    write_vocabulary(tmp_path, 300)
    path = tmp_path / 'encoder.json'
    path.write_text(json.dumps(change(json.loads(path.read_text()))))
    with pytest.raises(UserError, match=f'{sentence}.*; put the files'):
        read_encoder(tmp_path)


def test_each_cut_of_the_merges_is_seen_or_changes_nothing(tmp_path):
    write_vocabulary(tmp_path, 300)
    path, good = tmp_path / 'vocab.bpe', read_encoder(tmp_path)
    whole = path.read_bytes()
    for at in range(len(whole) - 1):
        path.write_bytes(whole[:at])
        with pytest.raises(UserError, match='holds no vocabulary'):
            read_encoder(tmp_path)
    for same in (whole[:-1], whole.replace(b'\n', b'\r\n')):
        path.write_bytes(same)
        assert read_encoder(tmp_path).bpe_ranks == good.bpe_ranks
    lines = whole.split(b'\n')
    path.write_bytes(b'\n'.join([*lines[:-1], lines[1], b'']))
    with pytest.raises(UserError, match='the same merge twice'):
        read_encoder(tmp_path)


def test_other_special_tokens(tmp_path):
    write_vocabulary(tmp_path, 300)
    path = tmp_path / 'encoder.json'
    more = {token: 300 + n for n, token in enumerate(['<|pad|>', '[SEP]', '<s>', '__x1__'])}
    path.write_text(json.dumps(json.loads(path.read_text()) | more))
    assert read_encoder(tmp_path, 304).decode([301, 300]) == '[SEP]<|pad|>'
    with pytest.raises(UserError, match='a vocabulary of 304 tokens for a model of n_vocab 300; '):
        read_encoder(tmp_path, 300)


def test_two_merges_may_make_one_token(tmp_path):
    tokens = [*bytes_to_unicode().values(), 'ab', 'bc', 'abc', '<|endoftext|>']
    (tmp_path / 'encoder.json').write_text(json.dumps({t: i for i, t in enumerate(tokens)}))
    (tmp_path / 'vocab.bpe').write_text('#version: 0.2\na b\nb c\nab c\na bc\n')
    assert len(read_encoder(tmp_path).bpe_ranks) == 4


def test_of_the_length_of_openais_and_of_another_sum(tmp_path, vocab_dir):
    for name in ('encoder.json', 'vocab.bpe'):
        (tmp_path / name).write_bytes((vocab_dir / name).read_bytes())
    lines = (tmp_path / 'vocab.bpe').read_bytes().split(b'\n')
    lines[1], lines[2] = lines[2], lines[1]  # which the merges alone would not show
    (tmp_path / 'vocab.bpe').write_bytes(b'\n'.join(lines))
    with pytest.raises(UserError, match='of another SHA-256'):
        read_encoder(tmp_path)


def test_what_is_no_text_and_no_ids(tiny):
    enc = get_encoder('tiny', tiny.parent)
    for text in (None, 5, b'night', ['night'], [1], object(), np.array(['night'])):
        with pytest.raises(UserError, match='^encode takes one text, a str, not '):
            enc.encode(text)
    for ids in (
        None,
        5,
        'x',
        '',
        b'x',
        bytearray(b'x'),
        [[1]],
        [[1], [2, 3]],
        np.array(5),
        np.ones(2),
        [[], None],
    ):
        with pytest.raises(UserError, match='^decode takes a row of ids, as in .*, not '):
            enc.decode(ids)
    for ids in ([None], ['x'], [512], [-1], np.array([512])):
        with pytest.raises(UserError, match='^no token has the id .*: ids go from 0 to 511'):
            enc.decode(ids)


@pytest.mark.parametrize('kind', [*'bhilqBHILQ'])
def test_ids_of_every_integer_type(tiny, kind):
    enc = get_encoder('tiny', tiny.parent)
    ids = enc.encode('O,no')
    array = np.array(ids, kind)
    forms = [array, list(array), tuple(array), iter(ids), array[:, None][:, 0], tf.constant(array)]
    for form in [*forms, [tf.constant(token) for token in array], tf.Variable(array)]:
        assert enc.decode(form) == 'O,no', form
