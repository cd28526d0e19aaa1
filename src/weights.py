"""Parameters as sampling reads them fastest."""

from collections.abc import Callable

import tensorflow as tf

from .fast import Int8, on_gpu

WIDENED = 4096  # inputs from which on XLA widens a low matrix as a whole, for every token
ROWS = 4096  # quantised at a time


def for_sampling(precision: str = 'float32') -> Callable:
    """What load_params makes of each parameter: convert(name, tensor) -> tensor.

    precision: float32, bfloat16, float16 or int8, of matrices as they are stored; the sums, gains,
    biases and positions are float32. On a GPU each lies in its memory. On a CPU, and in int8, a
    layer's w is turned to [out, in]: few positions at a time cost no more than reading the memory,
    if each core reads rows of its own. Where rows of a low type are long, they are cut, to
    [pieces, out, in / pieces]: XLA reads only short ones without writing them out first.
    """
    dtype, gpu = tf.dtypes.as_dtype(precision), on_gpu()

    def convert(name: str, value):
        if len(value.shape) == 3 and (dtype == tf.int8 or not gpu):
            value = tf.transpose(value[0])
        if len(value.shape) > 1 and name != 'wpe':
            value = quantised(value) if dtype == tf.int8 else cut(tf.cast(value, dtype))
        if gpu:  # RestoreV2 reads into the memory of the machine
            with tf.device('GPU:0'):
                value = tf.nest.map_structure(tf.identity, value)
        return value

    return convert


def cut(matrix):
    """A matrix [out, in] in pieces, where it is of a low type, its rows are long, and on a CPU."""
    if on_gpu() or matrix.dtype == tf.float32 or matrix.shape[1] < WIDENED:
        return matrix
    return tf.stack(tf.split(matrix, -(-matrix.shape[1] // (WIDENED - 1)), axis=1))


def quantised(matrix) -> Int8:
    """A float32 matrix [out, in] in 8 bits: the greatest number of each row becomes 127 or -127."""
    rows, scales = [], []
    for some in tf.split(matrix, split_sizes(matrix.shape[0])):  # what is in between is large
        scale = tf.reduce_max(tf.abs(some), axis=1) / 127
        scales.append(tf.where(scale > 0, scale, 1))
        rows.append(tf.cast(tf.round(some / scales[-1][:, None]), tf.int8))
    return Int8(cut(tf.concat(rows, 0)), tf.concat(scales, 0))


def split_sizes(n: int) -> list[int]:
    """9000 -> [4096, 4096, 808]"""
    return [min(ROWS, n - start) for start in range(0, n, ROWS)]
