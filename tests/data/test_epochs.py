import itertools

import numpy as np

from gpt2.data.epochs import order, orders, padded_length

LENGTHS = np.random.default_rng(1).integers(2, 60, 640)


def test_each_row_comes_once_in_an_epoch():
    for epoch in (0, 1):
        found = order(LENGTHS, 5, epoch, 8)
        assert found.shape == (80, 8) and np.array_equal(np.sort(found.ravel()), range(640))
    assert not np.array_equal(order(LENGTHS, 5, 0, 8), order(LENGTHS, 5, 1, 8))
    spread = np.ptp(LENGTHS[order(LENGTHS, 5, 0, 8)], axis=1)
    assert spread.mean() < 15 < np.ptp(LENGTHS)  # little is padding
    few = order(LENGTHS[:5], 1, 0, 8)
    assert few.shape == (1, 8) and set(few.ravel()) == set(range(5))


def test_steps_depend_on_the_seed_and_their_numbers_alone():
    def steps(first, count):
        return [row.tolist() for row in itertools.islice(orders(LENGTHS, 3, first, 64), count)]

    assert steps(0, 25)[7:] == steps(7, 18)  # an epoch has ten
    assert steps(0, 10) == order(LENGTHS, 3, 0, 64).tolist()


def test_few_lengths():
    lengths = [32, 64, 128, 256, 512, 1024]
    assert sorted({padded_length(n) for n in range(2, 1025)}) == lengths
    assert all(n <= padded_length(n) for n in range(2, 1025))
