"""What model.py leaves to the machine: each function stands for the plain line that it quotes.

Read model.py with those lines in their place; nothing here changes what is computed, but for the
last bits. The reasons are measured: benchmarks/sampling.py, benchmarks/training.py.
"""

import contextvars
import functools

import tensorflow as tf

FEW = 128  # rows: below, turned weights are multiplied from the left
QUERIES = 256  # whose attention weights exist at once


def on_gpu() -> bool:
    """Whether TensorFlow computes on a GPU; asked while tracing."""
    return bool(tf.config.list_physical_devices('GPU'))


def linear(x, w, b):
    """`x @ w + b`, for x [rows, in], in the type of x.

    w is [1, in, out] as in a checkpoint, or as weights.for_sampling lays it out: [out, in], or
    its columns cut into [pieces, out, in / pieces].
    """
    if len(w.shape) == 3 and w.shape[0] == 1:
        if w.dtype == x.dtype:
            return tf.matmul(x, w[0]) + b
        y = low_product(x, w[0])
    elif w.dtype == x.dtype:
        if few(x):
            return tf.transpose(tf.matmul(w, x, transpose_b=True) - (-b[:, None]))
        y = tf.matmul(x, w, transpose_b=True)
    else:
        pieces = tf.unstack(w) if len(w.shape) == 3 else [w]
        parts = zip(tf.split(x, len(pieces), axis=1), pieces, strict=True)
        y = summed([low_product(a, piece, transpose_b=True) for a, piece in parts])
    # Not + b: XLA would add it within the product of a single x, far slower.
    return y - (-b)


def few(x) -> bool:
    """Whether x [rows, in] has few rows, known while tracing."""
    return x.shape[0] is not None and x.shape[0] < FEW


def summed(parts: list):
    """`sum(parts)`, as a product: XLA would compute a sum anew for each row of what it feeds."""
    if len(parts) == 1:
        return parts[0]
    return tf.tensordot(tf.ones([len(parts)], parts[0].dtype), tf.stack(parts), 1)


def low_product(x, w, transpose_b: bool = False):
    """`x @ w`, where w is stored in a lower type than x; the result has the type of x."""
    on_cpu = not on_gpu()
    if on_cpu and (x.shape[0] == 1 or w.dtype == tf.float16):  # as fast as memory is read
        return tf.matmul(x, tf.cast(w, x.dtype), transpose_b=transpose_b)
    low = tf.cast(x, w.dtype)
    if few(x):
        return wide_product(low, w, transpose_b=transpose_b)
    return tf.cast(tf.matmul(low, w, transpose_b=transpose_b), x.dtype)


def wide_product(a, b, transpose_b: bool = False):
    """`a @ b`, in float32, of factors that share any type."""
    if a.dtype == tf.float32:
        return tf.matmul(a, b, transpose_b=transpose_b)
    return _wide_product(a, b, transpose_b=transpose_b)


@tf.function(jit_compile=True, autograph=False)
def _wide_product(a, b, transpose_b):
    """XLA alone has products that sum up in another type than their factors'."""
    return tf.matmul(a, b, transpose_b=transpose_b, output_type=tf.float32)


def unembed(h, wte):
    """`h @ transpose(wte)`: the logits, float32 whatever the factors are stored in.

    GPT-2's lie around -100, where bfloat16 has steps of a half: rounded, one in eight of the most
    probable tokens would be another.
    """
    if h.dtype == wte.dtype:
        return wide_product(h, wte, transpose_b=True)
    if on_gpu() or (h.shape[0] != 1 and wte.dtype == tf.bfloat16):
        return wide_product(tf.cast(h, wte.dtype), wte, transpose_b=True)
    return tf.matmul(h, tf.cast(wte, h.dtype), transpose_b=True)


def scores(q, k, past):
    """`q @ transpose(k)`, the keys of the past before k; positions not filled get -1e10."""
    earlier = []
    for keys, _, filled in past:
        filled = tf.reshape(filled, [-1, 1, 1, 1])
        places = tf.range(keys.shape[2] or tf.shape(keys)[2])
        w = tf.matmul(q, keys, transpose_b=True)
        earlier.append(tf.where(places < filled, w, tf.cast(-1e10, w.dtype)))
    return tf.concat([*earlier, tf.matmul(q, k, transpose_b=True)], axis=-1)


def mix(w, v, past):
    """`w @ v`, the values of the past before v."""
    values = [*(piece.v for piece in past), v]
    sizes = [x.shape[2] or tf.shape(x)[2] for x in values]
    parts = zip(tf.split(w, sizes, axis=-1), values, strict=True)
    return summed([tf.matmul(weights, x) for weights, x in parts])


def in_slices(attend):
    """`attend(q, k, v, 0)`, for some queries at a time, each slice with a number of its own.

    A slice looks at no keys behind its own. The weights of a slice alone exist at once, and are
    computed anew for the gradients: they would be most of what a training step keeps.
    """

    def sliced(q, k, v):
        n = q.shape[2]
        sizes = [n] if n is None else [min(QUERIES, n - i) for i in range(0, n, QUERIES)]
        if len(sizes) == 1:
            return attend(q, k, v, 0)
        ends = [sum(sizes[: i + 1]) for i in range(len(sizes))]
        queries = zip(ends, tf.split(q, sizes, axis=2), strict=True)
        parts = [attend(x, k[:, :, :end], v[:, :, :end], i) for i, (end, x) in enumerate(queries)]
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
