"""What model.py leaves to the machine: each function stands for the plain line that it quotes.

Read model.py with those lines in their place; nothing here changes what is computed, but for the
last bits. The reasons are measured: benchmarks/sampling.py, benchmarks/training.py.
"""

import contextvars
import functools
from typing import NamedTuple

import tensorflow as tf

from .cache import Past

FEW = 128  # rows: below, turned weights are multiplied from the left
FEWER = 32  # rows: below, whole numbers are multiplied as such
SINGLY = 3  # rows: up to so many, low weights are read once for each
QUERIES = 256  # whose attention weights exist at once


def on_gpu() -> bool:
    """Whether TensorFlow computes on a GPU; asked while tracing."""
    return bool(tf.config.list_physical_devices('GPU'))


@functools.cache
def has_bfloat16() -> bool:
    """Whether the processor has instructions for bfloat16: then it multiplies such twice as fast
    as float32, where each number is used many times."""
    try:
        with open('/proc/cpuinfo', encoding='utf-8') as file:
            return 'avx512_bf16' in file.read(10_000)
    except OSError:
        return False


class Int8(NamedTuple):
    """A matrix [out, in]: each of its rows, int8, times a scale, float32 [out].

    The rows may be cut, as weights.for_sampling has it.
    """

    rows: tf.Tensor
    scale: tf.Tensor

    @property
    def dtype(self):
        return self.rows.dtype


def embed(wte, X):
    """`gather(wte, X)`, in float32."""
    if isinstance(wte, Int8):
        return embed(wte.rows, X) * tf.gather(wte.scale, X)[..., None]
    return tf.cast(tf.gather(wte, X), tf.float32)


def linear(x, w, b):
    """`x @ w + b`, for x [rows, in], in the type of x.

    w is [1, in, out] as in a checkpoint, or as weights.for_sampling lays it out: [out, in], or
    its columns cut into [pieces, out, in / pieces]; or Int8 of either.
    """
    if w.dtype == x.dtype and len(w.shape) == 3:
        return tf.matmul(x, w[0]) + b
    if w.dtype == x.dtype and few(x):
        return tf.transpose(tf.matmul(w, x, transpose_b=True) - (-b[:, None]))
    # Not + b: XLA would add it within the product of a single x, far slower.
    return product(x, w) - (-b)


def product(x, w):
    """`x @ w`, for w as `linear` has it."""
    if isinstance(w, Int8):
        return product(x, w.rows) * w.scale
    if w.dtype == x.dtype:
        return tf.matmul(x, w, transpose_b=True)
    if len(w.shape) == 3 and w.shape[0] == 1:
        return low_product(x, w[0])
    pieces = tf.unstack(w) if len(w.shape) == 3 else [w]
    parts = zip(tf.split(x, len(pieces), axis=1), pieces, strict=True)
    return summed([low_product(a, piece, transpose_b=True) for a, piece in parts])


def few(x) -> bool:
    """Whether x [rows, in] has few rows, known while tracing."""
    return x.shape[0] is not None and x.shape[0] < FEW


def summed(parts: list):
    """`sum(parts)`, as a product: XLA would compute a sum anew for each row of what it feeds."""
    if len(parts) == 1:
        return parts[0]
    return tf.tensordot(tf.ones([len(parts)], parts[0].dtype), tf.stack(parts), 1)


def low_product(x, w, transpose_b: bool = False):
    """`x @ w`, in float32, where w is stored in a lower type than x."""
    rows = x.shape[0] or FEW  # not known while tracing: many
    if on_gpu():
        dtype = x.dtype if w.dtype == tf.int8 else w.dtype
    elif rows == 1:
        x, dtype = alone(x), x.dtype  # widened as it is read
    elif rows <= SINGLY:
        return tf.concat([low_product(row, w, transpose_b) for row in tf.split(x, rows)], 0)
    elif w.dtype == tf.int8 and rows < FEWER:
        return whole_product(x, w)
    elif w.dtype == tf.int8 and has_bfloat16():
        dtype = tf.bfloat16  # which has room for 8 bits
    else:
        dtype = w.dtype if w.dtype == tf.bfloat16 else x.dtype
    return wide_product(tf.cast(x, dtype), tf.cast(w, dtype), transpose_b=transpose_b)


def alone(x):
    """`x`, as a kernel of its own: XLA would compute what x comes from anew for each row of w.

    It does not do so with what is divided; and that this is by 1, it cannot know.
    """
    return x / tf.where(x[0, 0] == x.dtype.min, 2.0, 1.0)


def wide_product(a, b, transpose_b: bool = False):
    """`a @ b`, in float32, of factors that share any type."""
    if a.dtype == tf.float32:
        return tf.matmul(a, b, transpose_b=transpose_b)
    return _wide_product(a, b, transpose_b=transpose_b)


@tf.function(jit_compile=True, autograph=False)
def _wide_product(a, b, transpose_b):
    """XLA alone has products that sum up in another type than their factors'."""
    return tf.matmul(a, b, transpose_b=transpose_b, output_type=tf.float32)


@tf.function(jit_compile=True, autograph=False)
def whole_product(x, w):
    """`x @ transpose(w)` of x float32 [rows, in] and w int8 [out, in], for few rows.

    Each row of x becomes a scale times two digits to the base 254, whole numbers as w is: some 16
    bits. Processors multiply such in a third of the time, and nothing is widened.
    """
    scale = tf.reduce_max(tf.abs(x), axis=1, keepdims=True) / 127 + 1e-30
    high = tf.round(x / scale)
    low = tf.round((x / scale - high) * 254)
    digits = tf.cast(tf.concat([high, low], 0), tf.int8)
    y = tf.transpose(tf.matmul(w, digits, transpose_b=True, output_type=tf.int32))
    high, low = tf.split(tf.cast(y, tf.float32), 2)
    return (high + low / 254) * scale


def unembed(h, wte):
    """`h @ transpose(wte)`: the logits, float32 whatever the factors are stored in.

    GPT-2's lie around -100, where bfloat16 has steps of a half: rounded, one in eight of the most
    probable tokens would be another.
    """
    if h.dtype == wte.dtype:
        return wide_product(h, wte, transpose_b=True)
    if on_gpu() or (h.shape[0] != 1 and wte.dtype == tf.bfloat16):
        return wide_product(tf.cast(h, wte.dtype), wte, transpose_b=True)
    return product(h, wte)


def scores(q, k, past, window=None):
    """`q @ transpose(k)`, the keys of the past before k; positions not filled, and those that are
    `window` or more before the query's own, get -1e10."""
    earlier = []
    sizes = [x.shape[2] or tf.shape(x)[2] for x in (q, k)]
    between = tf.range(sizes[0])[:, None] + sizes[1] - sizes[0]  # a piece's last, and the query
    for keys, _, filled, rows in reversed(past):
        filled = tf.reshape(filled, [-1, 1, 1, 1])
        size = keys.shape[2] or tf.shape(keys)[2]
        places = tf.range(size)
        seen = places < filled
        if window is not None:
            ages = (filled - 1 - places) % size  # of the piece, which may be a ring: see cache
            seen = (ages < filled) & (between + ages + 1 < window)
            between += filled
        w = of_rows(q, keys, rows, transpose_b=True)
        earlier.insert(0, tf.where(seen, w, tf.cast(-1e10, w.dtype)))
    return tf.concat([*earlier, tf.matmul(q, k, transpose_b=True)], axis=-1)


def mix(w, v, past):
    """`w @ v`, the values of the past before v."""
    values = [*past, Past(None, v, None)]
    sizes = [piece.v.shape[2] or tf.shape(piece.v)[2] for piece in values]
    parts = zip(tf.split(w, sizes, axis=-1), values, strict=True)
    return summed([of_rows(weights, piece.v, piece.rows) for weights, piece in parts])


def of_rows(x, y, rows, transpose_b: bool = False):
    """`x @ gather(y, rows)`, for x [batch, heads, 1, n], without moving y; rows None: `x @ y`."""
    if rows is None:
        return tf.matmul(x, y, transpose_b=transpose_b)
    own = tf.one_hot(rows, y.shape[0], axis=0, dtype=x.dtype)[:, None, :, None]
    x = tf.transpose(x, [2, 1, 0, 3]) * own  # for each row of y, of those x that look at it
    return tf.transpose(
        tf.reduce_sum(tf.matmul(x, y, transpose_b=transpose_b), 0)[None], [2, 1, 0, 3]
    )


def in_slices(attend, window=None):
    """`attend(q, k, v, 0)`, for some queries at a time, each slice with a number of its own.

    A slice looks at no keys behind its own, nor at those before its first window. The weights of a
    slice alone exist at once, and are computed anew for the gradients: they would be most of what a
    training step keeps.
    """

    def sliced(q, k, v):
        n = q.shape[2]
        sizes = [n] if n is None else [min(QUERIES, n - i) for i in range(0, n, QUERIES)]
        if len(sizes) == 1:
            return attend(q, k, v, 0)
        parts, begin = [], 0
        for i, x in enumerate(tf.split(q, sizes, axis=2)):
            first = 0 if window is None else max(0, begin - window + 1)
            begin += sizes[i]
            parts.append(attend(x, k[:, :, first:begin], v[:, :, first:begin], i))
        return tf.concat(parts, axis=2)

    return recomputed(sliced)


recomputing = contextvars.ContextVar('recomputing', default=False)


def recomputed(function):
    """`function`, computed anew for its gradients, instead of keeping what is in it.

    What it holds of further such functions is computed once more with it, not once again each.
    """

    @functools.wraps(function)
    def wrapper(*args):
        if recomputing.get():
            return function(*args)

        def run(*args):
            outside = recomputing.set(True)
            try:
                return function(*args)
            finally:
                recomputing.reset(outside)

        return tf.recompute_grad(run)(*args)

    return wrapper


def fused(function):
    """`function` as a single kernel; its gradient keeps only its arguments.

    Positional arguments are tensors, keywords plain values; it returns one tensor. Where it is
    called eagerly, or with dimensions not known yet, it runs as it is: XLA would compile it anew
    for every shape.
    """
    forward = tf.function(function, jit_compile=True, autograph=False)

    @tf.function(jit_compile=True, autograph=False)
    def backward(args, upstream, **static):
        floats = [x for x in args if x.dtype.is_floating]
        with tf.GradientTape() as tape:
            tape.watch(floats)
            result = function(*args, **static)
        return tape.gradient(result, floats, upstream)

    @functools.wraps(function)
    def wrapper(*args, **static):
        @tf.custom_gradient
        def call(*args):
            def gradient(upstream):
                grads = iter(backward(args, upstream, **static))
                return [next(grads) if x.dtype.is_floating else None for x in args]

            return forward(*args, **static), gradient

        args = [tf.convert_to_tensor(x) for x in args]
        if tf.executing_eagerly() or not all(x.shape.is_fully_defined() for x in args):
            return function(*args, **static)
        return call(*args)

    return wrapper
