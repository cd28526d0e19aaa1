"""Text cut where the encoder splits it in any case, and put together in chunks."""

import itertools

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from gpt2.data import encode_dataset
from gpt2.data.encode_dataset import PLACE, SEPARATOR, chunk_texts, cut, encode_text
from gpt2.encoder import Encoder, bytes_to_unicode, get_encoder

AWKWARD = st.text(
    st.sampled_from("aaasltré漢1२'''!.?\u0301\U0001f600_ \n\t\u3000\u00a0\r\x1c")
    | st.characters(codec='utf-8')
)


def merging_encoder():
    """An encoder whose merges make it matter where words, blanks and punctuation are cut."""
    pairs = "a a/Ġ a/aa a/' s/' '/'' '/Ġ '/1 1/11 1/Ġ Ġ/ĠĠ ĠĠ/Ċ Ċ/Ġ Ċ/! !/! '/l l/' ll/s t"
    merges = [tuple(pair.split()) for pair in pairs.split('/')]
    tokens = [*bytes_to_unicode().values(), *map(''.join, merges), '<|endoftext|>']
    return Encoder({token: i for i, token in enumerate(tokens)}, merges)


MERGING = merging_encoder()


@pytest.fixture
def enc(tiny):
    return get_encoder(tiny.name, tiny.parent)


def documents(*texts):
    return list(enumerate(texts))


@pytest.mark.parametrize('letters', ["al'! ", "1a's\n", "é1' _", '漢\u0301 \ta', "e'r. "])
def test_places_are_where_the_encoder_splits_in_any_case(letters):
    find, places = MERGING.pat.findall, 0
    for length in range(2, 7):
        for text in map(''.join, itertools.product(letters, repeat=length)):
            for i in range(1, length):
                if PLACE.fullmatch(text, i - 1, i + 1):
                    assert find(text[:i]) + find(text[i:]) == find(text)
                    places += 1
    assert places > 10_000


@given(st.lists(AWKWARD), st.integers(1, 12))
def test_pieces_have_the_ids_of_the_whole(pieces, size):
    found, text = list(cut(pieces, size)), ''.join(pieces)
    assert ''.join(found) == text
    assert all(size <= len(piece) < 2 * size for piece in found[:-1]) and all(found)
    assert not found or len(found[-1]) < 2 * size
    ids = [i for piece in found for i in MERGING.encode(piece)]
    assert MERGING.decode(ids) == text
    exact, end = True, 0
    for piece in found[:-1]:
        end += len(piece)
        if not PLACE.fullmatch(text, end - 1, end + 1):
            # Only for want of a place in so many letters.
            assert len(piece) == size and not PLACE.search(text, end - 1, end + size)
            exact = False
    if exact:
        assert ids == MERGING.encode(text)


@given(st.lists(st.sampled_from("aaa it's a'a 1a 'll !!' \n\n \t ... ''' 漢字。 a1!".split(' '))))
def test_pieces_of_ordinary_text_are_exact(words):
    text = ' '.join(words)
    for size in (9, 16):  # more than the longest word, so that there is always a place
        found = list(cut([text], size))
        assert [i for piece in found for i in MERGING.encode(piece)] == MERGING.encode(text)


def test_where_it_cuts():
    assert list(cut(['one two', ' three'], 4)) == ['one two', ' three']
    assert list(cut(['aaaaaaaaa'], 4)) == ['aaaa', 'aaaaa']
    assert list(cut(iter(''), 4)) == []


def test_a_long_text_without_blanks(enc, monkeypatch):
    longest = 0

    class Recorder:
        decoder, end_of_text = enc.decoder, enc.end_of_text

        def encode(self, text):
            nonlocal longest
            longest = max(longest, len(text))
            return enc.encode(text)

    for word in ('x' * 300_000, '\n' * 300_000, '漢字。' * 100_000):
        assert enc.decode(encode_text(Recorder(), word)) == word
    assert longest < 2 * encode_dataset.LETTERS_PER_PIECE


def test_short_texts_share_a_chunk():
    texts = list(chunk_texts(documents('aaaa', 'bbbb', 'cccc', 'dd'), 8))
    assert texts == [f'aaaa{SEPARATOR}bbbb{SEPARATOR}', f'cccc{SEPARATOR}dd']
    assert list(chunk_texts(documents('aaaa', 'bb'), 0)) == [f'aaaa{SEPARATOR}', 'bb']
    assert list(chunk_texts([], 8)) == []


def test_pieces_of_a_document_are_not_separated():
    assert list(chunk_texts([(0, 'a'), (0, 'b'), (1, 'c')], 8)) == [f'ab{SEPARATOR}c']


@given(st.lists(st.text('ab', min_size=1, max_size=20)), st.integers(0, 40))
def test_chunks_put_end_to_end_are_the_documents_separated(texts, combine):
    chunks = list(chunk_texts(documents(*texts), combine))
    assert ''.join(chunks) == SEPARATOR.join(texts)
    assert all(len(chunk.removesuffix(SEPARATOR)) >= combine for chunk in chunks[:-1])
    assert not any(SEPARATOR in chunk[combine:-1] for chunk in chunks)


@given(st.lists(st.text('ab', min_size=1, max_size=20)), st.integers(0, 60))
def test_legacy_separator_stands_where_it_stood(texts, combine):
    expected, raw = [], ''
    for text in texts:  # nshepperd's loop
        raw += text
        if len(raw) >= combine:
            expected.append(raw)
            raw = ''
        else:
            raw += '<|endoftext|>'
    if raw:
        expected.append(raw)
    assert list(chunk_texts(documents(*texts), combine, legacy_separator=True)) == expected


def test_a_long_document_becomes_long_chunks(monkeypatch):
    monkeypatch.setattr(encode_dataset, 'LETTERS_PER_CHUNK', 1000)
    words = ' '.join(str(i) for i in range(5000))
    pieces = [(0, words[i : i + 700]) for i in range(0, len(words), 700)]
    texts = list(chunk_texts([('short', 'before'), *pieces], 50))
    assert ''.join(texts) == f'before{SEPARATOR}{words}'
    assert all(1000 <= len(text) < 2000 + len('before ') for text in texts)
    assert len(texts) > 15


def test_encode_text(enc):
    ids = encode_text(enc, f'a{SEPARATOR}b{SEPARATOR}')
    assert ids.tolist() == [*enc.encode('a'), 511, *enc.encode('b'), 511]
    assert ids.dtype == np.uint16
    assert 511 not in encode_text(enc, '<|endoftext|>')


def test_says_what_was_left_out_and_written(tmp_path, tiny, capsys):
    for name, content in {'a.txt': b'text', 'b.png': b'\0', '.c': b'hidden'}.items():
        (tmp_path / 'data' / name).parent.mkdir(exist_ok=True)
        (tmp_path / 'data' / name).write_bytes(content)
    args, said = (tiny, [tmp_path / 'data'], tmp_path / 'out.npz'), []
    encode_dataset.encode_dataset(*args, workers=1, say=said.append)
    assert said == [
        f'{tmp_path}/data: left out as hidden: {tmp_path}/data/.c',
        f'{tmp_path}/data: left out as binary: {tmp_path}/data/b.png',
        f'{tmp_path}/out.npz: 4 tokens in 1 chunk',
    ]
    encode_dataset.encode_dataset(*args, workers=1)
    assert capsys.readouterr().out == ''
