"""BPE-dropout: other tokens each time, the same text."""

import time

import numpy as np
import pytest

from conftest import ROOT
from gpt2.data.bpe_dropout import LETTERS, BpeDropout
from gpt2.data.load_dataset import load_dataset
from gpt2.encoder import Encoder, bytes_to_unicode, get_encoder

MERGES = [('l', 'o'), ('lo', 'w'), ('e', 'r'), ('low', 'er')]


@pytest.fixture
def enc():
    tokens = [*bytes_to_unicode().values(), *map(''.join, MERGES), '<|endoftext|>']
    return Encoder({token: i for i, token in enumerate(tokens)}, MERGES)


@pytest.mark.parametrize('rate', [0.1, 0.5])
def test_each_merge_stays_with_its_probability(enc, rate):
    """'low' merges as a whole where neither of two merges is dropped, and a dropped one comes up
    again after another merge, of which this word has none."""
    kept = 1 - rate
    random = BpeDropout(enc, rate, 'a seed')
    seen = [random.bpe('low') for _ in range(20_000)]
    for spelling, share in {
        'low': kept * kept,
        'lo w': kept * rate,
        'l o w': rate,
    }.items():
        assert abs(seen.count(spelling) / len(seen) - share) < 0.015


def test_no_dropout_and_nothing_else(enc):
    word = 'lowerlowlowerer'
    assert BpeDropout(enc, 0, '').bpe(word) == enc.bpe(word) == 'lower low lower er'
    assert BpeDropout(enc, 1, '').bpe(word) == ' '.join(word)


def test_a_word_has_other_tokens_each_time_and_the_same_letters(enc):
    random = BpeDropout(enc, 0.3, 'a seed')
    text = 'lower lowest 漢 ' * 50
    ids = random.encode(text)
    assert random.decode(ids) == text
    assert ids != random.encode(text) and ids == BpeDropout(enc, 0.3, 'a seed').encode(text)


def test_a_long_word_takes_no_time(enc):
    began = time.perf_counter()
    word = 'lower' * 100_000
    assert len(word) > LETTERS and BpeDropout(enc, 0.3, '').bpe(word) == enc.bpe(word)
    assert time.perf_counter() - began < 20  # the square would take hours


def test_copies_differ_and_do_not_depend_on_workers(run, tmp_path):
    text = 'A sentence, as many are. ' * 400
    (tmp_path / 'a.txt').write_text(text)
    flags = ['--model_name', ROOT / 'models/demo', '--copies', 3, '--bpe_dropout', 0.2]
    for workers in 1, 2:
        run('encode.py', 'a.txt', f'{workers}.npz', *flags, '--workers', workers)
    enc = get_encoder('demo', ROOT / 'models')
    ones, twos = ([chunk[:] for chunk in load_dataset(enc, tmp_path / f'{n}.npz')] for n in (1, 2))
    assert [enc.decode(chunk.tolist()) for chunk in ones] == [text] * 3
    assert len({chunk.tobytes() for chunk in ones}) == 3
    for one, two in zip(ones, twos, strict=True):
        np.testing.assert_array_equal(one, two)
