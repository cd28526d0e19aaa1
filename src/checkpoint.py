"""OpenAI's checkpoint format, in and out: TensorFlow's name-based V2 checkpoints."""

import errno
import math
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import tensorflow as tf
from tqdm import tqdm

from . import files, runtime
from .errors import UserError
from .hparams import HParams
from .model_folder import checkpoint_prefix, how_to_mend
from .params import flatten, nest, param_shapes


def load_params(folder_or_prefix, hparams: HParams, convert: Callable | None = None) -> dict:
    """The parameters in a model's folder, or under a checkpoint's prefix.

    Variables beyond the model's own (an optimizer's, say) are left alone. Returns a nested
    dict of tf.Variable, float32, or of what convert(name, tensor) returns, as
    weights.for_sampling makes it. Raises UserError where a file or a variable is missing,
    damaged, or of another shape than hparams say.
    """
    convert = convert or (lambda name, value: tf.Variable(value, name=f'model/{name}'))
    prefix = checkpoint_prefix(folder_or_prefix)
    shapes = param_shapes(hparams)
    try:
        _check_shapes(prefix, shapes, hparams)
        # The largest first, on all cores: what takes time is the system's finding memory.
        names = sorted(shapes, key=lambda name: -math.prod(shapes[name]))
        with ThreadPoolExecutor() as pool:
            values = pool.map(lambda name: convert(name, restore(prefix, f'model/{name}')), names)
            bar = tqdm(names, 'Loading', delay=1, leave=False, disable=None, unit=' variables')
            flat = dict(zip(bar, values, strict=True))
    except (tf.errors.OpError, RuntimeError) as error:
        if runtime.is_little_memory(error):
            raise
        reason = str(error).partition('\n')[0]
        raise UserError(f'{prefix} is damaged ({reason}); {how_to_mend(prefix.parent)}') from error
    return nest({name: flat[name] for name in shapes})


def restore(prefix: Path, name: str, dtype=tf.float32):
    """One tensor of a checkpoint; TensorFlow checks its checksum."""
    return tf.raw_ops.RestoreV2(
        prefix=str(prefix), tensor_names=[name], shape_and_slices=[''], dtypes=[dtype]
    )[0]


def _check_shapes(prefix: Path, shapes: dict, hparams: HParams) -> None:
    found = tf.train.load_checkpoint(str(prefix)).get_variable_to_shape_map()
    wrong = None
    if f'model/h{hparams.n_layer}/ln_1/g' in found:
        wrong = f'has more blocks than the n_layer of {hparams.n_layer}'
    for name, shape in shapes.items():
        there = found.get(f'model/{name}')
        if there is None:
            wrong = wrong or f'has no variable model/{name}'
        elif tuple(there) != shape:
            wrong = wrong or f'has model/{name} in the shape {there}, not {list(shape)}'
    if wrong:
        raise UserError(
            f'{prefix} {wrong} that hparams.json asks for; {how_to_mend(prefix.parent)}'
        )


def save_params(prefix, params: dict) -> None:
    """Write `params` under a prefix, as OpenAI's own code would restore them.

    The folder's `checkpoint` file names them once they are whole. Raises UserError where the
    disk is full or cannot be written.
    """
    prefix = Path(prefix)
    save_tensors(prefix, {f'model/{name}': value for name, value in flatten(params).items()})
    text = f'model_checkpoint_path: "{prefix.name}"\nall_model_checkpoint_paths: "{prefix.name}"\n'
    files.write(prefix.with_name('checkpoint'), text)


def save_tensors(prefix: Path, tensors: dict) -> None:
    """Write named tensors under a prefix. Raises UserError as save_params does."""
    tensors = dict(sorted(tensors.items()))  # the order of OpenAI's files
    with files.writing_prefix(prefix) as aside:
        try:
            tf.raw_ops.SaveV2(
                prefix=str(aside),
                tensor_names=list(tensors),
                shape_and_slices=[''] * len(tensors),
                tensors=[tf.convert_to_tensor(value) for value in tensors.values()],
            )
        except tf.errors.OpError as error:
            raise _system_error(error) from error


def _system_error(error: tf.errors.OpError) -> OSError:
    """What the system told TensorFlow: '... model.ckpt.data-...; File too large [Op:SaveV2]'."""
    reason = error.message.rpartition('; ')[2].partition(' [Op:')[0]
    number = next((n for n in errno.errorcode if os.strerror(n) == reason), None)
    return OSError(number, reason)
