"""Parameters as sampling reads them fastest."""

import itertools
import threading
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from .fast import Int8, on_gpu

WIDENED = 4096  # inputs from which on XLA widens a low matrix as a whole, for every token
ROWS = 64  # quantised at a time
REGION = 1 << 26  # bytes of memory taken at once


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
        turn = len(value.shape) == 3 and (dtype == tf.int8 or not gpu)
        if dtype == tf.float32 or len(value.shape) == 1 or name == 'wpe':
            value = tf.transpose(value[0]) if turn else value
        else:
            matrix = np.asarray(value)[0].T if turn else np.asarray(value)
            rows, scale = quantised(matrix) if dtype == tf.int8 else (matrix, None)
            value = memory.hold(cut(rows) if turn and not gpu else rows, dtype)
            if scale is not None:
                value = Int8(value, tf.constant(scale))
        if gpu:  # RestoreV2 reads into the memory of the machine
            with tf.device('GPU:0'):
                value = tf.nest.map_structure(tf.identity, value)
        return value

    return convert


class Memory:
    """Large regions, which NumPy has Linux map in pages of 2 MB: there are fewer to be looked up,
    and a token takes a tenth less in low types."""

    def __init__(self):
        self.free, self.lock = np.empty(0, np.uint8), threading.Lock()

    def hold(self, x: np.ndarray, dtype: tf.DType):
        """A copy of `x` there, in a type."""
        copy = self.take(x.size * dtype.size).view(dtype.as_numpy_dtype).reshape(x.shape)
        copy[...] = x
        if dtype != tf.bfloat16:
            return tf.experimental.dlpack.from_dlpack(copy.__dlpack__())
        plain = copy.view(np.uint16)  # NumPy exports no bfloat16
        return tf.bitcast(tf.experimental.dlpack.from_dlpack(plain.__dlpack__()), dtype)

    def take(self, size: int) -> np.ndarray:
        """So many bytes, from a multiple of 64 on, as XLA wants it."""
        with self.lock:
            if self.free.size < size + 64:
                self.free = np.empty(max(size + 64, REGION), np.uint8)
            start = -self.free.ctypes.data % 64
            taken, self.free = np.split(self.free[start:], [size])
        return taken


def cut(matrix: np.ndarray) -> np.ndarray:
    """A matrix [out, in], in pieces [pieces, out, in / pieces] where its rows are long."""
    if matrix.shape[1] < WIDENED:
        return matrix
    least = -(-matrix.shape[1] // (WIDENED - 1))
    pieces = next(n for n in itertools.count(least) if matrix.shape[1] % n == 0)
    return matrix.reshape(len(matrix), pieces, -1).swapaxes(0, 1)


def quantised(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A float32 matrix [out, in] in 8 bits, and the scale of each row [out], whose greatest number
    becomes 127 or -127."""
    scale = np.maximum(matrix.max(1), -matrix.min(1)) / np.float32(127)
    scale[~(scale > 0)] = 1
    rows = np.empty(matrix.shape, np.int8)
    for i in range(0, len(matrix), ROWS):  # what is in between is small
        some = matrix[i : i + ROWS] / scale[i : i + ROWS, None]
        rows[i : i + ROWS] = np.rint(some, out=some)
    return rows, scale
