import errno
import io
import itertools
import random
import re
import subprocess
import sys
import zipfile

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from gpt2.data import encode_dataset, read_text, token_file
from gpt2.data.encode_dataset import PLACE, SEPARATOR, chunk_texts, cut, encode_text
from gpt2.data.load_dataset import Sampler, batches, load_dataset
from gpt2.data.read_text import find_files
from gpt2.encoder import Encoder, bytes_to_unicode, get_encoder
from gpt2.errors import UserError

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


# Cutting


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
def test_blocks_have_the_ids_of_the_whole(pieces, size):
    blocks, text = list(cut(pieces, size)), ''.join(pieces)
    assert ''.join(blocks) == text
    assert all(size <= len(block) < 2 * size for block in blocks[:-1]) and all(blocks)
    assert not blocks or len(blocks[-1]) < 2 * size
    ids = [i for block in blocks for i in MERGING.encode(block)]
    assert MERGING.decode(ids) == text
    exact, end = True, 0
    for block in blocks[:-1]:
        end += len(block)
        if not PLACE.fullmatch(text, end - 1, end + 1):
            # Only for want of a place in so many letters.
            assert len(block) == size and not PLACE.search(text, end - 1, end + size)
            exact = False
    if exact:
        assert ids == MERGING.encode(text)


@given(st.lists(st.sampled_from("aaa it's a'a 1a 'll !!' \n\n \t ... ''' 漢字。 a1!".split(' '))))
def test_blocks_of_ordinary_text_are_exact(words):
    text = ' '.join(words)
    for size in (9, 16):  # more than the longest word, so that there is always a place
        blocks = list(cut([text], size))
        assert [i for block in blocks for i in MERGING.encode(block)] == MERGING.encode(text)


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
    assert longest < 2 * encode_dataset.BLOCK_LETTERS


# Chunks


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
    monkeypatch.setattr(encode_dataset, 'CHUNK_LETTERS', 1000)
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


# Files


@pytest.fixture
def folder(tmp_path):
    """Text in files of several kinds, and what is to be left out."""
    folder = tmp_path / 'data'
    for name, content in {
        'a.txt': 'Hello,\r\nworld',
        'b.csv': 'text\r\n"x, ""y""\nz"\r\n\r\nlast\r\n',
        'c.jsonl': '{"text": "one", "n": 1}\n\n{"text": ""}\n{"n": 2, "text": "tw\\u00f6"}\n',
        'd/e.md': '\ufeff# Title',
        'empty.txt': '',
        '.hidden': 'secret',
        '.git/config': 'secret',
        'z.png': b'\x89PNG\r\n\0\0',
    }.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


TEXTS = ['Hello,\nworld', 'x, "y"\nz', 'last', 'one', 'twö', '# Title']


def decoded(enc, chunks):
    return [enc.decode(chunk) for chunk in chunks]


def test_a_folder(folder, enc, capsys):
    chunks = load_dataset(enc, str(folder), 50000)
    assert decoded(enc, chunks) == ['<|endoftext|>'.join(TEXTS)]
    assert (chunks[0] == enc.end_of_text).sum() == len(TEXTS) - 1
    assert capsys.readouterr().out.splitlines() == [
        f'{folder}: left out as hidden: {folder}/.git/config and 1 more',
        f'{folder}: left out as binary: {folder}/z.png',
        f'{folder}: {len(chunks[0])} tokens in 1 chunk',
    ]


def test_a_file_has_the_ids_of_its_whole_text(tmp_path, enc):
    path = tmp_path / 'a.txt'
    words = random.Random(1).choices(
        ["it's", 'caf\u00e9', '\n\n', '12', '!', '\u6f22\u5b57\u3002', '  '], k=500_000
    )
    path.write_text(' '.join(words), encoding='utf-8')
    chunks = load_dataset(enc, path, 50000)
    assert len(chunks) == 1 and path.stat().st_size > encode_dataset.CHUNK_LETTERS
    assert chunks[0].tolist() == enc.encode(' '.join(words))


def test_empty_documents_do_not_count(folder):
    pieces = list(read_text.read_pieces(find_files(folder)))
    assert [text for _, text in pieces] == TEXTS


def test_patterns_and_several(folder, enc, capsys):
    assert find_files(folder / '**' / '*') == find_files(folder)
    capsys.readouterr()
    paths = [str(folder / '*.csv'), folder / 'a.txt']
    chunks = load_dataset(enc, paths, 50000)
    assert decoded(enc, chunks) == ['x, "y"\nz<|endoftext|>last', 'Hello,\nworld']
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(': ')[0] for line in lines] == list(map(str, paths))


def test_utf16_is_text_where_it_is_asked_for(tmp_path, enc):
    (tmp_path / 'data').mkdir()
    (tmp_path / 'data' / 'a').write_text('naïve', encoding='utf-16')
    assert decoded(enc, load_dataset(enc, tmp_path / 'data', 0, 'utf-16')) == ['naïve']
    with pytest.raises(UserError, match='data holds no text'):
        load_dataset(enc, tmp_path / 'data', 0)


def test_columns(tmp_path, enc):
    table, rows = tmp_path / 'a.CSV', tmp_path / 'a.jsonl'
    table.write_text(f'id,body\n1,{"long " * 40_000}\n')
    assert decoded(enc, load_dataset(enc, table, 0, column='body')) == ['long ' * 40_000]
    rows.write_text('{"id": 1, "body": "two", "text": "three"}\n')
    assert decoded(enc, load_dataset(enc, rows, 0, column='body')) == ['two']
    assert decoded(enc, load_dataset(enc, rows, 0)) == ['three']


def test_the_same_file_twice_is_two_documents(folder, enc):
    pieces = read_text.read_pieces([folder / 'a.txt'] * 2)
    assert list(chunk_texts(pieces, 100)) == [f'{TEXTS[0]}{SEPARATOR}{TEXTS[0]}']


@pytest.mark.parametrize(
    'name, content, sentence',
    [
        ('a.csv', 'id,body\n1,x\n', 'line 2 has no column text, but: id, body; set --column'),
        ('a.csv', 'id,text\n1\n', 'line 2 has None as text, which is no text; mend the row'),
        ('a.csv', 'id,text\n1,"a\nb"\n2,c,d\n', 'line 4 is broken: it has more fields than'),
        ('a.csv', 'text\na\n"b"c\n', 'line 3 is broken: .*; mend the row'),
        ('a.csv', 'text\na\n"b\nc\n', 'line 3 is broken: unexpected end of data; mend'),
        ('a.jsonl', '{"text": "a"}\n{"b": "a", "c": 1}\n', 'line 2 has no column text, but: b, c'),
        ('a.jsonl', '{"text": "a"}\n\n{"text": oops}\n', 'line 3 is broken: Expecting value'),
        ('a.jsonl', '["text"]\n', 'line 1 is no JSON object; mend the row'),
        ('a.jsonl', '{"text": 5}\n', 'line 1 has 5 as text, which is no text; mend the row'),
        ('a.jsonl', '{"text": "\\ud800"}\n', 'line 1 has a lone surrogate in text; mend the row'),
    ],
)
def test_broken_rows(tmp_path, enc, name, content, sentence):
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(UserError, match=f'^{re.escape(str(path))} {sentence}'):
        load_dataset(enc, path, 50000)


def test_a_missing_column_is_found_before_anything_is_read(tmp_path, enc, monkeypatch):
    (tmp_path / 'data').mkdir()
    (tmp_path / 'data' / 'a.txt').write_text('a')
    (tmp_path / 'data' / 'b.csv').write_text('id,body\n1,x\n')
    with pytest.raises(UserError, match='no column text'):
        read_text.read_pieces(find_files(tmp_path / 'data'))


@pytest.mark.parametrize('offset', [0, 1, 8190, 8191, 8192, 8193, 100_001])
@pytest.mark.parametrize('mark', ['', '\ufeff'])
@pytest.mark.parametrize('name', ['a.txt', 'a.jsonl'])
def test_undecodable_bytes(tmp_path, enc, offset, mark, name):
    path = tmp_path / name
    before = mark.encode() + b'\n' * offset
    path.write_bytes(before + 'é'.encode('latin-1') + b't\xe9' * 9000)
    where = f'{name} is not utf-8 at byte {len(before)}; say what it is, as in --encoding latin-1'
    with pytest.raises(UserError, match=where):
        load_dataset(enc, path, 50000)


def test_undecodable_bytes_in_other_encodings(tmp_path, enc):
    path = tmp_path / 'a.txt'
    path.write_text('no mark')
    with pytest.raises(UserError, match='is not utf-16 at byte 0; say what it is'):
        load_dataset(enc, path, 50000, 'utf-16')
    path.write_bytes('x'.encode('utf-16') + b'\x00')
    with pytest.raises(UserError, match='is not utf-16 at byte 4; say what it is'):
        load_dataset(enc, path, 50000, 'utf-16')
    for encoding in ('utf-99', 'hex'):
        with pytest.raises(UserError, match=f"no encoding of text is called '{encoding}'; --enc"):
            load_dataset(enc, path, 50000, encoding)


def test_what_is_not_there(tmp_path, enc):
    for path in ('gone.txt', 'gone/*.txt', tmp_path / '*.gone'):
        with pytest.raises(UserError, match='is no file, no folder, and no pattern that matches'):
            load_dataset(enc, path, 50000)
    (tmp_path / 'empty.txt').write_text('')
    with pytest.raises(UserError, match=r'empty\.txt holds no text'):
        load_dataset(enc, tmp_path / 'empty.txt', 50000)


# .npz


@pytest.mark.parametrize('save', [np.savez, np.savez_compressed])
@pytest.mark.parametrize('dtype', [np.int64, np.int32, np.uint16])
def test_npz(tmp_path, enc, capsys, save, dtype):
    first, second = np.arange(0, 512, 5).astype(dtype), np.array([511, 0], dtype)
    save(tmp_path / 'a.npz', first, np.array([], dtype), second)
    chunks = load_dataset(enc, tmp_path / 'a.npz', 50000)
    assert [chunk[:].tolist() for chunk in chunks] == [first.tolist(), second.tolist()]
    assert [chunk[3:7].tolist() for chunk in chunks] == [first[3:7].tolist(), []]
    assert capsys.readouterr().out == f'{tmp_path}/a.npz: 105 tokens in 2 chunks\n'


def test_npz_beside_text(folder, enc):
    np.savez(folder / 'a.npz', np.array([1, 2, 3]))
    chunks = load_dataset(enc, folder, 50000)
    assert chunks[0][:].tolist() == [1, 2, 3]
    assert decoded(enc, chunks[1:]) == ['<|endoftext|>'.join(TEXTS)]


@pytest.mark.parametrize('bad', [512, 50256, -1])
def test_ids_of_another_model(tmp_path, enc, bad):
    np.savez(tmp_path / 'a.npz', np.array([1, 2]), np.array([5, bad, 6]))
    with pytest.raises(UserError, match=f'a.npz holds the id {bad}, and the model has 0 to 511;'):
        load_dataset(enc, tmp_path / 'a.npz', 50000)


@pytest.mark.parametrize('bad', [512, -1])
def test_ids_of_another_model_where_they_are_read(tmp_path, enc, monkeypatch, bad):
    monkeypatch.setattr(token_file, 'CHECKED_BYTES', 16)
    np.savez(tmp_path / 'a.npz', np.array([1, 2]), np.array([5, bad, 6]))
    chunks = load_dataset(enc, tmp_path / 'a.npz', 50000)
    assert chunks[1][:1].tolist() == [5]
    with pytest.raises(UserError, match=f'a.npz holds the id {bad}, and the model has 0 to 511;'):
        chunks[1][1:]


def test_an_npz_written_anew_while_it_is_read(tmp_path, enc):
    np.savez(tmp_path / 'a.npz', np.array([1, 2]))
    [chunk] = load_dataset(enc, tmp_path / 'a.npz', 50000)
    np.savez(tmp_path / 'a.npz', np.array([1, 2, 3]))
    with pytest.raises(UserError, match='a.npz was written anew; run the same command again'):
        chunk[:]


LIMITED = r"""
import re, resource, sys
import numpy as np
from gpt2.data.load_dataset import Sampler, batches
from gpt2.data.token_file import read_npz

used = int(re.search('VmData:\s+(\d+)', open('/proc/self/status').read())[1]) * 1024
resource.setrlimit(resource.RLIMIT_DATA, (used + 2**25,) * 2)  # 32 MiB more
drawn = batches(Sampler(read_npz(sys.argv[1], 511)), 512, 1, 0, [1, 8], 1024)
print(np.mean([next(drawn)[1].mean() for _ in range(500)]))
"""


@pytest.mark.skipif(sys.platform != 'linux', reason='asks Linux for the memory in use')
@pytest.mark.parametrize('save', [np.savez, np.savez_compressed])
def test_a_dataset_larger_than_memory(tmp_path, save):
    """100 MB of tokens, in two chunks, in a process that may have 32 MiB more than numpy."""
    half = np.tile(np.arange(512, dtype=np.uint16), 50_000)
    save(tmp_path / 'a.npz', half, half)
    args = [sys.executable, '-c', LIMITED, tmp_path / 'a.npz']
    done = subprocess.run(args, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert abs(float(done.stdout) - 255.5) < 1e-6  # each window of 1024 holds each id twice


def test_no_room_to_unpack(tmp_path, enc, monkeypatch):
    class Full(io.BytesIO):
        def write(self, content):
            raise OSError(errno.ENOSPC, 'No space left on device')

    monkeypatch.setattr(token_file.tempfile, 'TemporaryFile', Full)
    np.savez_compressed(tmp_path / 'a.npz', np.array([1, 2]))
    with pytest.raises(UserError, match='has no room for the tokens; set TMPDIR to a folder'):
        load_dataset(enc, tmp_path / 'a.npz', 50000)


def broken_npz():
    yield lambda path: path.write_bytes(b'no zip'), 'it is no zip archive'
    yield lambda path: path.write_bytes(path.read_bytes()[:-30]), 'it is no zip archive'
    yield lambda path: np.savez(path, np.ones(3)), r'arr_0 is float64 of shape \(3,\)'
    yield lambda path: np.savez(path, np.ones((2, 2), int)), r'arr_0 is int64 of shape \(2, 2\)'
    yield lambda path: zipfile.ZipFile(path, 'w').writestr('a.npy', b'no array'), 'magic string'
    yield lambda path: np.savez(path, np.array([[1], 'a'], object)), 'arr_0 is object'

    def flip(path):
        np.savez_compressed(path, np.arange(500))
        content = bytearray(path.read_bytes())
        content[300] ^= 1
        path.write_bytes(content)

    yield flip, '(Bad CRC-32|decompressing)'


@pytest.mark.parametrize('break_it, sentence', [*broken_npz()])
def test_broken_npz(tmp_path, enc, break_it, sentence):
    path = tmp_path / 'a.npz'
    np.savez(path, np.arange(500))
    break_it(path)
    with pytest.raises(UserError, match=f'holds no token chunks: .*{sentence}.*; run: python enc'):
        load_dataset(enc, path, 50000)


# The sampler


class InTurn:
    """In place of the random numbers: 0, 1, 2, ... and what they were drawn below."""

    def __init__(self):
        self.drawn = 0

    def integers(self, below):
        self.below = int(below)
        self.drawn += 1
        return self.drawn - 1


def chunks_of(*lengths):
    """Chunks in which every token differs: chunks_of(2, 1) -> [0, 1], [1000]."""
    return [1000 * n + np.arange(length) for n, length in enumerate(lengths)]


@given(
    st.lists(st.integers(0, 12), min_size=1).filter(lambda lengths: max(lengths) > 1),
    st.integers(1, 14),
)
def test_every_window_is_drawn_once_in_a_round(lengths, length):
    sampler, random = Sampler(chunks_of(*lengths)), InTurn()
    drawn = [sampler.sample(length, random).tolist()]
    drawn += [sampler.sample(length, random).tolist() for _ in range(random.below - 1)]
    length = min(length, max(lengths))
    assert drawn == [
        chunk[i : i + length].tolist()
        for chunk in sampler.chunks
        for i in range(len(chunk) - length + 1)
    ]
    assert (sampler.total_size, sampler.longest) == (sum(lengths), max(lengths))


def test_draws_are_fair():
    sampler, expected = Sampler(chunks_of(7, 3, 2, 20)), 400
    random, counts = np.random.default_rng(1), {}
    for _ in range(expected * 24):  # windows of 3: 5 + 1 + 0 + 18
        start = int(sampler.sample(3, random)[0])
        counts[start] = counts.get(start, 0) + 1
    assert len(counts) == 24
    chi_squared = sum((count - expected) ** 2 / expected for count in counts.values())
    assert chi_squared < 49.7  # 0.1 % of fair samplers exceed it, with 23 degrees of freedom


def test_windows_are_as_long_as_the_longest_chunk_allows():
    sampler, random = Sampler(chunks_of(3, 5)), np.random.default_rng(1)
    for length in (5, 1024):
        drawn = {tuple(sampler.sample(length, random)) for _ in range(20)}
        assert drawn == {(1000, 1001, 1002, 1003, 1004)}


def test_seeds():
    one, same, other = (Sampler(chunks_of(10**6), seed) for seed in (1, 1, 2))
    first = one.sample(1)
    assert first == same.sample(1) and first != other.sample(1)
    assert Sampler(chunks_of(10**6)).sample(1) != Sampler(chunks_of(10**6)).sample(1)


def drawn_batches(seed, step, number, noise=0.0):
    sampler = Sampler(chunks_of(100, 10_000))
    drawn = batches(sampler, 512, seed, step, [2, 3], 5, noise)
    return [np.stack(pair) for pair in itertools.islice(drawn, number)]


def test_a_batch_depends_on_seed_and_step_alone():
    whole = drawn_batches(1, 0, 6)
    assert np.array_equal(whole[4:], drawn_batches(1, 4, 2))
    assert not np.array_equal(whole, drawn_batches(2, 0, 6))
    assert len({batch.tobytes() for batch in whole}) == 6
    for inputs, targets in whole:
        assert inputs.shape == (2, 3, 5) and inputs.dtype == np.int32
        assert np.array_equal(inputs, targets) and np.all(np.diff(targets) == 1)


def test_noise_replaces_a_share_of_the_inputs():
    pairs = np.stack(drawn_batches(1, 0, 200, noise=0.3))
    changed = pairs[:, 0] != pairs[:, 1]
    assert 0.27 < changed.mean() < 0.33
    assert pairs[:, 0][changed].min() < 20 and 490 < pairs[:, 0][changed].max() < 512
    assert np.all(np.diff(pairs[:, 1]) == 1)


@pytest.mark.parametrize('chunks', [[], [np.array([], int)], [np.array([7])] * 9])
def test_no_tokens(chunks):
    with pytest.raises(UserError, match='the dataset holds no two tokens in a row'):
        Sampler(chunks)
