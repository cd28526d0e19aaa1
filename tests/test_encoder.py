import json
import string

import hypothesis.strategies as st
import pytest
from hypothesis import given

from conftest import DATA, write_vocabulary
from gpt2 import encoder
from gpt2.encoder import Encoder, bytes_to_unicode, get_encoder, get_pairs
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
