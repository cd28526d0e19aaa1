"""Parameters as sampling reads them fastest."""

import threading
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from .fast import Int8, on_gpu

WIDENED = 4096  # inputs from which on XLA widens a low matrix as a whole, for every token
BLOCK = 1 << 26  # bytes of memory taken at once


def for_sampling(precision: str = 'float32') -> Callable:
    """What load_params makes of each parameter: convert(name, tensor) -> tensor.

    precision: float32, bfloat16, float16 or int8, of matrices as they are stored; the sums, gains,
    biases and positions are float32. On a GPU each lies in its memory. On a CPU, and in int8, a
    layer's w is turned to [out, in]: few positions at a time cost no more than reading the memory,
    if each core reads rows of its own. Where rows of a low type are long, they are cut, to
    [pieces, out, in / pieces]: XLA reads only short ones without writing them out first.
    """
    dtype, gpu, memory = tf.dtypes.as_dtype(precision), on_gpu(), Memory()

    def convert(name: str, value):
        if len(value.shape) == 3 and (dtype == tf.int8 or not gpu):
            value = tf.transpose(value[0])
        if len(value.shape) > 1 and name != 'wpe':
            value = quantised(value) if dtype == tf.int8 else cut(tf.cast(value, dtype))
        if gpu:  # RestoreV2 reads into the memory of the machine
            with tf.device('GPU:0'):
                value = tf.nest.map_structure(tf.identity, value)
        elif dtype != tf.float32:
            value = tf.nest.map_structure(memory.hold, value)
        return value

    return convert


class Memory:
    """Large blocks, which NumPy has Linux map in pages of 2 MB: there are fewer to be looked up,
    and a token takes a tenth less in low types."""

    def __init__(self):
        self.free, self.lock = np.empty(0, np.uint8), threading.Lock()

    def hold(self, x):
        """`x`, in a block."""
        x = np.asarray(x)
        copy = self.take(x.nbytes).view(x.dtype).reshape(x.shape)
        copy[...] = x
        if copy.dtype != tf.bfloat16:
            return tf.experimental.dlpack.from_dlpack(copy.__dlpack__())
        return tf.bitcast(
            tf.experimental.dlpack.from_dlpack(copy.view(np.uint16).__dlpack__()), tf.bfloat16
        )

    def take(self, size: int) -> np.ndarray:
        """So many bytes, from a multiple of 64 on, as XLA wants it."""
        with self.lock:
            if self.free.size < size + 64:
                self.free = np.empty(max(size + 64, BLOCK), np.uint8)
            start = -self.free.ctypes.data % 64
            taken, self.free = np.split(self.free[start:], [size])
        return taken


def cut(matrix):
    """A matrix [out, in] in pieces, where it is of a low type, its rows are long, and on a CPU."""
    if on_gpu() or matrix.dtype == tf.float32 or matrix.shape[1] < WIDENED:
        return matrix
    return tf.stack(tf.split(matrix, -(-matrix.shape[1] // (WIDENED - 1)), axis=1))


def quantised(matrix) -> Int8:
    """A float32 matrix [out, in] in 8 bits: the greatest number of each row becomes 127 or -127."""
    least, most = tf.reduce_min(matrix, axis=1), tf.reduce_max(matrix, axis=1)
    most = tf.maximum(most, -least)
    most = tf.where(most > 0, most, 127)
    rows = tf.raw_ops.QuantizeV2(
        input=matrix,
        min_range=-most,
        max_range=most,
        T=tf.qint8,
        mode='SCALED',
        round_mode='HALF_TO_EVEN',
        narrow_range=True,
        axis=0,
        ensure_minimum_range=0,
    ).output
    return Int8(cut(tf.bitcast(rows, tf.int8)), most / 127)
