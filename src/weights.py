"""Parameters as sampling reads them fastest."""

from collections.abc import Callable

import tensorflow as tf

from .fast import on_gpu

WIDENED = 4096  # inputs from which on XLA widens a low matrix as a whole, for every token


def for_sampling(precision: str = 'float32') -> Callable:
    """What load_params makes of each parameter: convert(name, tensor) -> tensor.

    precision: float32, bfloat16 or float16, of matrices as they are stored; the sums, gains,
    biases and positions are float32. On a GPU each lies in its memory. On a CPU a layer's w is
    turned to [out, in]: few positions at a time cost no more than reading the memory, if each
    core reads rows of its own. Where rows of a low type are long, they are cut, to
    [pieces, out, in / pieces]: XLA reads only short ones without writing them out first.
    """
    dtype, gpu = tf.dtypes.as_dtype(precision), on_gpu()

    def convert(name: str, value):
        if not gpu and len(value.shape) == 3:
            value = tf.transpose(value[0])
        if len(value.shape) > 1 and name != 'wpe':
            value = tf.cast(value, dtype)
            if not gpu and dtype != tf.float32 and value.shape[1] >= WIDENED:
                value = tf.stack(tf.split(value, -(-value.shape[1] // (WIDENED - 1)), axis=1))
        if gpu:  # RestoreV2 reads into the memory of the machine
            with tf.device('GPU:0'):
                value = tf.identity(value)
        return value

    return convert
