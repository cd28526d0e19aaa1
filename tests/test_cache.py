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
    presents, filled = [(numbered(3, 4), numbered(3, 4))] * 2, tf.constant([0, 2, 4])
    memory = cache.begin(presents, filled, size=7, chunk=3, hparams=HParams(n_layer=2))
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


def test_a_ring_holds_the_last_of_each_row():
    hparams = HParams(n_layer=2, attention=('dense', 'banded'), window=3)
    filled = tf.constant([8, 2, 4])
    memory = cache.begin([(numbered(3, 9), numbered(3, 9))] * 2, filled, 9, 2, hparams)
    assert [block[0].shape[2] for block in memory] == [11, 5]

    def check(*expected):
        for row, numbers in zip(memory[1][1][:, 1, :, 2].numpy(), expected, strict=True):
            assert row.tolist() == numbers

    check([5, 6, 7, 3, 4], [100, 101, 100, 100, 100], [200, 201, 202, 203, 200])
    cache.extend(memory, [[numbered(3, 2, first=50)] * 2] * 2, filled)
    check([5, 6, 7, 50, 51], [100, 101, 150, 151, 100], [251, 201, 202, 203, 250])
    cache.replace(memory, [0], [(numbered(1, 8), numbered(1, 8))] * 2, [6])
    check([5, 1, 2, 3, 4], [100, 101, 150, 151, 100], [251, 201, 202, 203, 250])
    assert memory[0][1][0, 1, :8, 2].numpy().tolist() == [*range(8)]


def test_sizes():
    hparams = HParams(n_ctx=1000)
    sizes = [cache.cache_size(n, hparams) for n in (1, 64, 65, 128, 129, 513, 1000)]
    assert sizes == [64, 64, 128, 128, 256, 1000, 1000]
    sizes = [cache.prompt_size(n, hparams) for n in (1, 32, 33, 64, 65, 514, 999)]
    assert sizes == [32, 32, 64, 64, 128, 576, 1000]
