"""Parameters as sampling reads them fastest."""

from collections.abc import Callable

import tensorflow as tf

from .fast import on_gpu


def for_sampling(precision: str = 'float32') -> Callable:
    """What load_params makes of each parameter: convert(name, tensor) -> tensor.

    precision: float32, bfloat16 or float16, of matrices as they are stored; the sums, gains,
    biases and positions are float32. On a GPU each lies in its memory. On a CPU a layer's w is
    turned to [out, in]: few positions at a time cost no more than reading the memory, if each
    core reads rows of its own.
    """
    dtype, gpu = tf.dtypes.as_dtype(precision), on_gpu()

    def convert(name: str, value):
        if not gpu and len(value.shape) == 3:
            value = tf.transpose(value[0])
        if len(value.shape) > 1 and name != 'wpe':
            value = tf.cast(value, dtype)
        if gpu:  # RestoreV2 reads into the memory of the machine
            with tf.device('GPU:0'):
                value = tf.identity(value)
        return value

    return convert
