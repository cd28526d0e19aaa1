import numpy as np
import tensorflow as tf

from gpt2 import cache
from gpt2.hparams import HParams


def numbered(batch, sequence, first=0):
    """Keys or values [batch, 2 heads, sequence, 3 features] that say where they belong."""
    x = np.arange(batch)[:, None] * 100 + first + np.arange(sequence)
    return tf.constant(np.broadcast_to(x[:, None, :, None], [batch, 2, sequence, 3]), tf.float32)


def test_split_past():
    past = tf.random.stateless_normal([2, 3, 2, 4, 5, 6], [1, 2])
    pieces = cache.split_past(past)
    assert len(pieces) == 3 and all(piece.filled == 5 for piece in pieces)
    assert np.array_equal(pieces[1].k, past[:, 1, 0]) and np.array_equal(pieces[1].v, past[:, 1, 1])
    assert cache.split_past(past, 4)[0].filled == 4


def test_rows_of_different_lengths_are_extended_each_behind_its_own():
    memory = cache.begin([(numbered(3, 4), numbered(3, 4))] * 2, size=10)
    filled = tf.constant([0, 2, 4])
    recent = [[numbered(3, 3, first=50), numbered(3, 3, first=70)] for _ in range(2)]
    for extend in (cache.extend, tf.function(cache.extend, jit_compile=True)):
        extend(memory, recent, filled)
        for variables in memory:
            for variable, first in zip(variables, (50, 70), strict=True):
                rows = variable[:, 1, :, 2].numpy().tolist()
                assert rows[0][:4] == [first, first + 1, first + 2, 3]
                assert rows[1][:6] == [100, 101, *(100 + first + i for i in range(3)), 0]
                assert rows[2][:8] == [*range(200, 204), *(200 + first + i for i in range(3)), 0]
    [past, _] = cache.pasts(memory, filled)
    assert past.k.shape == (3, 2, 10, 3) and past.filled is filled


def test_sizes():
    hparams = HParams(n_ctx=1000)
    sizes = [cache.cache_size(n, hparams) for n in (1, 64, 65, 128, 129, 513, 1000)]
    assert sizes == [64, 64, 128, 128, 256, 1000, 1000]
    sizes = [cache.prompt_size(n, hparams) for n in (1, 32, 33, 64, 65, 514, 999)]
    assert sizes == [32, 32, 64, 64, 128, 576, 1000]
