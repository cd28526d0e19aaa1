"""Parameters as sampling reads them fastest."""

import os
from collections.abc import Callable

import tensorflow as tf

XLA_FLAGS = (
    # Else XLA widens low weights before its loop over the tokens, all of them, and keeps both.
    '--xla_disable_hlo_passes=while-loop-invariant-code-motion',
    # Where the processor has them: 1.05 times as fast, in bfloat16 1.2 times.
    '--xla_cpu_prefer_vector_width=512',
)


def default_precision() -> str:
    """bfloat16 where every GPU computes with it in hardware, else float32."""
    gpus = tf.config.list_physical_devices('GPU')
    details = [tf.config.experimental.get_device_details(gpu) for gpu in gpus]
    able = [gpu.get('compute_capability', (0, 0)) >= (8, 0) for gpu in details]
    return 'bfloat16' if able and all(able) else 'float32'


def for_sampling(precision: str | None = None) -> Callable:
    """What load_params makes of each parameter: convert(name, tensor) -> tensor.

    precision: float32, bfloat16 or float16; None is the machine's own. On a CPU only matrices
    are stored in it, and the sums are float32. There a layer's w is turned to [out, in]: few
    positions at a time cost no more than reading the memory, if each core reads rows of its own.
    """
    dtype = tf.dtypes.as_dtype(precision or default_precision())
    on_cpu = not tf.config.list_physical_devices('GPU')
    if on_cpu:  # before XLA is first used; the user's own flags count more
        own = [flag for flag in os.environ.get('XLA_FLAGS', '').split() if flag not in XLA_FLAGS]
        os.environ['XLA_FLAGS'] = ' '.join([*XLA_FLAGS, *own])
        if dtype != tf.float32:
            # oneDNN's own keeps the memory of the float32 tensors that these are made from.
            os.environ.setdefault('TF_ONEDNN_USE_SYSTEM_ALLOCATOR', '1')

    def convert(name: str, value):
        if on_cpu and len(value.shape) == 3:
            value = tf.transpose(value[0])
        whole = on_cpu and (len(value.shape) == 1 or name == 'wpe')
        return value if whole else tf.cast(value, dtype)

    return convert
