"""What model.py leaves to the machine: each function stands for the plain line in its docstring."""

import tensorflow as tf

FEW = 128  # rows: below, turned weights are multiplied from the left


def on_gpu() -> bool:
    """Whether TensorFlow computes on a GPU; asked while tracing."""
    return bool(tf.config.list_physical_devices('GPU'))


def linear(x, w, b):
    """x @ w + b, for x [rows, in] and w [1, in, out], or [out, in] as weights.py turns it.

    The result has the type of x, whatever type w is stored in.
    """
    turned = len(w.shape) == 2
    if w.dtype != x.dtype and not (turned and w.dtype == tf.float16):
        y = low_product(x, w if turned else w[0], transpose_b=turned)
    elif not turned:
        return tf.matmul(x, w[0]) + b
    elif w.dtype == x.dtype and few(x):
        return tf.transpose(tf.matmul(w, x, transpose_b=True) - (-b[:, None]))
    else:
        y = tf.matmul(x, tf.cast(w, x.dtype), transpose_b=True)
    # Not + b: XLA would add it within the product of a single x, far slower.
    return y - (-b)


def few(x) -> bool:
    """Whether x [rows, in] has few rows, known while tracing."""
    return x.shape[0] is not None and x.shape[0] < FEW


def low_product(x, w, transpose_b: bool):
    """x @ w, in the type of x, where w is stored in a lower one."""
    if x.shape[0] == 1 and not on_gpu():  # as fast as memory is read, and exact
        return tf.matmul(x, tf.cast(w, x.dtype), transpose_b=transpose_b)
    low = tf.cast(x, w.dtype)
    if few(x):
        return wide_product(low, w, transpose_b=transpose_b)
    return tf.cast(tf.matmul(low, w, transpose_b=transpose_b), x.dtype)


def wide_product(a, b, transpose_b: bool = False):
    """a @ b in float32, of factors in any one type."""
    if a.dtype == tf.float32:
        return tf.matmul(a, b, transpose_b=transpose_b)
    return _wide_product(a, b, transpose_b=transpose_b)


@tf.function(jit_compile=True, autograph=False)
def _wide_product(a, b, transpose_b):
    """XLA alone has products that sum up in another type than their factors'."""
    return tf.matmul(a, b, transpose_b=transpose_b, output_type=tf.float32)


def logits(h, wte):
    """h @ transpose(wte), in float32 whatever is stored in what type.

    They lie around -100, where bfloat16 has steps of a half: rounded, one in eight of the most
    probable tokens would be another.
    """
    if h.dtype == wte.dtype:
        return wide_product(h, wte, transpose_b=True)
    if on_gpu() or (h.shape[0] != 1 and wte.dtype == tf.bfloat16):
        return wide_product(tf.cast(h, wte.dtype), wte, transpose_b=True)
    return tf.matmul(h, tf.cast(wte, h.dtype), transpose_b=True)
