"""The chunks of text and .npz, and the windows drawn from them."""

import itertools
import random

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from gpt2.data import encode_dataset, read_text
from gpt2.data.encode_dataset import SEPARATOR, chunk_texts
from gpt2.data.load_dataset import Sampler, batches, load_dataset
from gpt2.encoder import get_encoder
from gpt2.errors import UserError

TEXTS = ['Hello,\nworld', 'x, "y"\nz', 'last']


@pytest.fixture
def enc(tiny):
    return get_encoder(tiny.name, tiny.parent)


@pytest.fixture
def folder(tmp_path):
    """Two files of text, and one that is to be left out."""
    folder = tmp_path / 'data'
    folder.mkdir()
    (folder / 'a.txt').write_bytes(b'Hello,\r\nworld')
    (folder / 'b.csv').write_bytes(b'text\r\n"x, ""y""\nz"\r\n\r\nlast\r\n')
    (folder / 'z.png').write_bytes(b'\x89PNG\r\n\0\0')
    return folder


def decoded(enc, chunks):
    return [enc.decode(chunk) for chunk in chunks]


def test_a_folder(folder, enc, capsys):
    said = []
    chunks = load_dataset(enc, str(folder), 50000, say=said.append)
    assert decoded(enc, chunks) == ['<|endoftext|>'.join(TEXTS)]
    assert (chunks[0] == enc.end_of_text).sum() == len(TEXTS) - 1
    assert said == [
        f'{folder}: left out as binary: {folder}/z.png',
        f'{folder}: {len(chunks[0])} tokens in 1 chunk',
    ]
    load_dataset(enc, str(folder), 50000)
    assert capsys.readouterr().out == ''


def test_a_file_has_the_ids_of_its_whole_text(tmp_path, enc):
    path = tmp_path / 'a.txt'
    words = random.Random(1).choices(
        ["it's", 'caf\u00e9', '\n\n', '12', '!', '\u6f22\u5b57\u3002', '  '], k=500_000
    )
    path.write_text(' '.join(words), encoding='utf-8')
    chunks = load_dataset(enc, path, 50000)
    assert len(chunks) == 1 and path.stat().st_size > encode_dataset.LETTERS_PER_CHUNK
    assert chunks[0].tolist() == enc.encode(' '.join(words))


def test_several(folder, enc):
    paths, said = [str(folder / '*.csv'), folder / 'a.txt'], []
    chunks = load_dataset(enc, paths, 50000, say=said.append)
    assert decoded(enc, chunks) == ['x, "y"\nz<|endoftext|>last', 'Hello,\nworld']
    assert [line.split(': ')[0] for line in said] == list(map(str, paths))


def test_the_same_file_twice_is_two_documents(folder, enc):
    pieces = read_text.read_pieces([folder / 'a.txt'] * 2)
    assert list(chunk_texts(pieces, 100)) == [f'{TEXTS[0]}{SEPARATOR}{TEXTS[0]}']


def test_what_holds_no_text(tmp_path, enc):
    (tmp_path / 'empty.txt').write_text('')
    with pytest.raises(UserError, match=r'empty\.txt holds no text'):
        load_dataset(enc, tmp_path / 'empty.txt', 50000)
    (tmp_path / 'data').mkdir()
    (tmp_path / 'data' / 'a').write_text('naïve', encoding='utf-16')
    assert decoded(enc, load_dataset(enc, tmp_path / 'data', 0, 'utf-16')) == ['naïve']
    with pytest.raises(UserError, match='data holds no text'):
        load_dataset(enc, tmp_path / 'data', 0)


def test_a_column(tmp_path, enc):
    (tmp_path / 'a.jsonl').write_text('{"id": 1, "body": "two", "text": "three"}\n')
    chunks = load_dataset(enc, tmp_path / 'a.jsonl', 0, column='body')
    assert decoded(enc, chunks) == ['two']


def test_npz_beside_text(folder, enc):
    np.savez(folder / 'a.npz', np.array([1, 2, 3]))
    said = []
    chunks = load_dataset(enc, folder, 50000, say=said.append)
    assert chunks[0][:].tolist() == [1, 2, 3]
    assert decoded(enc, chunks[1:]) == ['<|endoftext|>'.join(TEXTS)]
    assert said[-1] == f'{folder}: {3 + len(chunks[1])} tokens in 2 chunks'


def test_ids_of_another_model(tmp_path, enc):
    np.savez(tmp_path / 'a.npz', np.array([1, 512]))
    with pytest.raises(UserError, match='a.npz holds the id 512, and the model has 0 to 511;'):
        load_dataset(enc, tmp_path / 'a.npz', 50000)


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
