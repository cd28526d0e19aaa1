"""Keys and values of earlier positions, of rows that may have different lengths filled.

Those of a banded block are a ring: position p stands at p % size, so that memory and time per token
stay flat. A chunk is written behind what is filled, of which some may not count; so a ring has room
for a window and a chunk, and no position that a window yet needs is written over.
"""

from typing import NamedTuple

import tensorflow as tf

from .hparams import HParams


class Past(NamedTuple):
    """One block's keys and values of earlier positions [batch, heads, sequence, features].

    Only the first `filled` positions are looked at: one number, or one for each row [batch]; of a
    banded block's, where more are filled than it has room for, the last ones.
    rows [batch]: of k and v, those that each row of what is fed looks at; None for its own.
    """

    k: tf.Tensor
    v: tf.Tensor
    filled: tf.Tensor | int
    rows: tf.Tensor | None = None


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


def begin(presents, filled, size: int, chunk: int, hparams: HParams) -> list[list[tf.Variable]]:
    """For each block its keys and values (k, v), in variables with room for `size` positions, or a
    window of them, and a chunk.

    So each token costs the same, few shapes are compiled, and nothing is copied to grow. filled
    [batch]: how many positions of each row count.
    """
    memory = []
    for layer, present in enumerate(presents):
        room = min(size, hparams.window_of(layer) or size) + chunk
        memory.append([tf.Variable(placed(x, filled, room)) for x in present])
    return memory


def placed(x, filled, size: int):
    """Keys or values [batch, heads, n, features], of which the first filled [batch] count, as they
    stand in a memory of `size` positions: of more, the last ones in a ring."""
    if x.shape[2] <= size:
        return tf.pad(x, [[0, 0], [0, 0], [0, size - x.shape[2]], [0, 0]])
    last = tf.reshape(filled, [-1, 1]) - 1
    positions = last - (last - tf.range(size)) % size
    return tf.gather(x, tf.maximum(positions, 0), axis=2, batch_dims=1)


def pasts(cache, filled) -> list[Past]:
    """The cache as each block looks at it: the first `filled` positions, of each row or of all."""
    return [Past(k.value(), v.value(), filled) for k, v in cache]


def extend(cache, recent, filled, rows=None) -> None:
    """Write `recent`, keys and values of some positions more, behind those `filled`.

    rows [batch]: of the cache, in whose place they are written; None for their own.
    """
    for variable, new in zip(tf.nest.flatten(cache), tf.nest.flatten(recent), strict=True):
        size, some = variable.shape[2], new.shape[2]
        # Not a slice of the variable: XLA would compile each `filled` anew.
        place = (tf.range(size) - filled[..., None]) % size
        fresh = tf.reshape(place < some, [-1, 1, size, 1])
        place = tf.minimum(place, some - 1)
        moved = tf.gather(new, place, axis=2, batch_dims=filled.shape.rank)
        earlier = variable if rows is None else tf.gather(variable, rows)
        variable.assign(tf.where(fresh, moved, earlier))


def replace(cache, rows, presents, filled) -> None:
    """Have `rows` of the cache hold `presents`, from position 0 on, in place of what was there.

    filled: how many positions of each of these rows count.
    """
    for variable, new in zip(tf.nest.flatten(cache), tf.nest.flatten(presents), strict=True):
        new = placed(new, filled, variable.shape[2])
        variable.scatter_update(tf.IndexedSlices(new, rows))
