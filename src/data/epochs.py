"""Rows of many lengths in batches: their order in each epoch, and their padding. No TensorFlow."""

from collections.abc import Iterator

import numpy as np

POOL = 8  # batches whose rows are sorted by length, so that little of a batch is padding


def steps_per_epoch(rows: int, size: int) -> int:
    return -(-rows // size)


def orders(lengths: np.ndarray, seed: int, step: int, size: int) -> Iterator[np.ndarray]:
    """Yield the numbers of `size` rows for `step` and those after it, by the seed alone."""
    steps, epoch = steps_per_epoch(len(lengths), size), None
    while True:
        now, i = divmod(step, steps)
        if now != epoch:
            epoch, numbers = now, order(lengths, seed, now, size)
        yield numbers[i]
        step += 1


def order(lengths: np.ndarray, seed: int, epoch: int, size: int) -> np.ndarray:
    """The numbers of the rows of an epoch's steps [steps, size].

    Each row comes once, some twice where they do not fill the last step. Those of a step have
    about the same length: the rows of POOL steps are sorted, the steps then shuffled.
    """
    random, steps = np.random.default_rng([seed, epoch]), steps_per_epoch(len(lengths), size)
    found = np.resize(random.permutation(len(lengths)), steps * size)
    for start in range(0, len(found), POOL * size):
        pool = found[start : start + POOL * size]
        pool[:] = pool[np.argsort(lengths[pool], kind='stable')]
    return random.permutation(found.reshape(steps, size))


def padded_length(n: int) -> int:
    """The next power of two, from 32 on: 70 -> 128. A step is compiled for each, for seconds."""
    return max(32, 1 << (n - 1).bit_length())
