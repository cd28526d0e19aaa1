"""Keys and values of earlier positions, of rows that may have different lengths filled."""

from typing import NamedTuple

import tensorflow as tf

from .hparams import HParams


class Past(NamedTuple):
    """One block's keys and values of earlier positions [batch, heads, sequence, features].

    Only the first `filled` positions are looked at: one number, or one for each row [batch].
    """

    k: tf.Tensor
    v: tf.Tensor
    filled: tf.Tensor | int


def split_past(past, filled=None) -> list[Past]:
    """For each block, its own: past is [batch, n_layer, 2, n_head, sequence, features]."""
    if filled is None:
        filled = past.shape[4] or tf.shape(past)[4]
    return [Past(*tf.unstack(layer, axis=1), filled) for layer in tf.unstack(past, axis=1)]


def cache_size(n: int, hparams: HParams) -> int:
    """n as a power of two from 64 up, at most n_ctx, so that few shapes are compiled: 65 -> 128."""
    return min(max(64, 1 << (n - 1).bit_length()), hparams.n_ctx)


def prompt_size(n: int, hparams: HParams) -> int:
    """n as a multiple of 64, above 64, so that few shapes are traced: 33 -> 64, 65 -> 128."""
    return min(32 if n <= 32 else -n // 64 * -64, hparams.n_ctx)


def begin(presents, size: int) -> list[list[tf.Variable]]:
    """For each block its keys and values (k, v), in variables with room for `size` positions.

    So each token costs the same, few shapes are compiled, and nothing is copied to grow.
    """

    def place(x):
        return tf.Variable(tf.pad(x, [[0, 0], [0, 0], [0, size - x.shape[2]], [0, 0]]))

    return [[place(k), place(v)] for k, v in presents]


def pasts(cache, filled) -> list[Past]:
    """The cache as each block looks at it: the first `filled` positions, of each row or of all."""
    return [Past(k.value(), v.value(), filled) for k, v in cache]


def extend(cache, recent, filled) -> None:
    """Write `recent`, keys and values of some positions more, behind those `filled`."""
    size, some = cache[0][0].shape[2], recent[0][0].shape[2]
    # Not a slice of the variable: XLA would compile each `filled` anew.
    place = tf.range(size) - filled[..., None]
    fresh = tf.reshape((place >= 0) & (place < some), [-1, 1, size, 1])
    place = tf.clip_by_value(place, 0, some - 1)
    for variable, new in zip(tf.nest.flatten(cache), tf.nest.flatten(recent), strict=True):
        moved = tf.gather(new, place, axis=2, batch_dims=filled.shape.rank)
        variable.assign(tf.where(fresh, moved, variable))
