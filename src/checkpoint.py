"""OpenAI's checkpoint format, in and out: TensorFlow's name-based V2 checkpoints."""

import contextlib
import errno
import math
import os
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import tensorflow as tf
from tqdm import tqdm

from . import files, runtime
from .errors import REFUSED, UserError, what_mends
from .hparams import HParams
from .model_folder import checkpoint_prefix, how_to_mend, how_to_mend_checkpoint
from .params import flatten, nest, param_shapes

# What TensorFlow raises for damage: of the data, of the index, of its footer, of its names.
UNREADABLE = (tf.errors.OpError, RuntimeError, LookupError, ValueError, SystemError)


def load_params(folder_or_prefix, hparams: HParams, convert: Callable | None = None) -> dict:
    """The parameters in a model's folder, or under a checkpoint's prefix.

    Variables beyond the model's own (an optimizer's, say) are left alone. Returns a nested
    dict of tf.Variable, float32, or of what convert(name, tensor) returns, as
    weights.for_sampling makes it. Raises UserError where a file or a variable is missing,
    damaged, or of another shape than hparams say.
    """
    convert = convert or (lambda name, value: tf.Variable(value, name=f'model/{name}'))
    prefix = checkpoint_prefix(folder_or_prefix)
    shapes = check_shapes(prefix, hparams)

    def load(name):
        with reading(prefix):
            value = restore(prefix, f'model/{name}')
        return convert(name, value)

    # The largest first; each that is under way takes memory, so they are no more than the cores.
    names = sorted(shapes, key=lambda name: -math.prod(shapes[name]))
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        bar = tqdm(names, 'Loading', delay=1, leave=False, disable=None, unit=' variables')
        flat = dict(zip(bar, pool.map(load, names), strict=True))
    return nest({name: flat[name] for name in shapes})


def restore(prefix: Path, name: str, dtype=tf.float32):
    """One tensor of a checkpoint; TensorFlow checks its checksum."""
    return tf.raw_ops.RestoreV2(
        prefix=str(prefix), tensor_names=[name], shape_and_slices=[''], dtypes=[dtype]
    )[0]


@contextlib.contextmanager
def reading(prefix: Path) -> Iterator[None]:
    """Makes what TensorFlow says of a damaged checkpoint, in many ways, a UserError."""
    try:
        yield
    except UNREADABLE as error:
        if runtime.is_little_memory(error):
            raise
        check_allowed(prefix, error)
        mend = how_to_mend_checkpoint(prefix)
        raise UserError(f'{prefix} is damaged ({reason_of(error)}); {mend}') from error


def check_allowed(prefix: Path, error: Exception) -> None:
    """Raise UserError where TensorFlow may not read a file, of which it tells in several ways."""
    for number in REFUSED:
        if os.strerror(number) in str(error):
            mend = what_mends(OSError(number, os.strerror(number)))
            raise UserError(f'{prefix} cannot be read ({reason_of(error)}); {mend}') from error


def reason_of(error: Exception) -> str:
    """What TensorFlow says, without what it says of itself."""
    return re.sub(r'\{\{.*?\}\}\s*|\s*\[Op:.*', '', str(error).partition('\n')[0])


def check_shapes(prefix: Path, hparams: HParams) -> dict[str, tuple[int, ...]]:
    """The names and shapes that hparams ask for; raises UserError where they are not there."""
    with reading(prefix):
        reader = tf.train.load_checkpoint(str(prefix))
        found, dtypes = reader.get_variable_to_shape_map(), reader.get_variable_to_dtype_map()
    wrong, shapes = None, {}
    if f'model/h{hparams.n_layer}/ln_1/g' in found:
        wrong = f'has more blocks than the n_layer of {hparams.n_layer}'
    elif (last := f'model/h{hparams.n_layer - 1}/ln_1/g') not in found:
        wrong = f'has no variable {last}'
    else:
        shapes = param_shapes(hparams)
    for name, shape in shapes.items():
        there, dtype = found.get(f'model/{name}'), dtypes.get(f'model/{name}')
        if there is None:
            wrong = wrong or f'has no variable model/{name}'
        elif tuple(there) != shape:
            wrong = wrong or f'has model/{name} in the shape {there}, not {list(shape)}'
        elif dtype != tf.float32:
            wrong = wrong or f'has model/{name} in {dtype.name}, not the float32'
    if wrong:
        raise UserError(
            f'{prefix} {wrong} that hparams.json asks for; {how_to_mend(prefix.parent)}'
        )
    return shapes


def save_params(prefix, params: dict) -> None:
    """Write `params` under a prefix, as OpenAI's own code would restore them.

    The folder's `checkpoint` file names them once they are whole. Raises UserError where the
    disk is full or cannot be written.
    """
    prefix = Path(prefix)
    with files.writing_prefix(prefix, last=(f'{prefix.name}.index', 'checkpoint')) as aside:
        write_params(aside, params)


def save_tensors(prefix: Path, tensors: dict) -> None:
    """Write named tensors under a prefix. Raises UserError as save_params does."""
    with files.writing_prefix(prefix) as aside:
        write_tensors(aside, tensors)


def write_params(prefix: Path, params: dict) -> None:
    """What save_params writes, where nothing is yet: in a folder aside. Raises OSError."""
    write_tensors(prefix, {variable_name(name): value for name, value in flatten(params).items()})
    prefix.with_name('checkpoint').write_text(naming(prefix.name), 'utf-8')


def variable_name(name: str) -> str:
    """What a checkpoint calls a parameter: 'h0/ln_1/g' -> 'model/h0/ln_1/g'; a head's, 'head/w',
    is none of the model's."""
    return name if name.startswith('head/') else f'model/{name}'


def write_tensors(prefix: Path, tensors: dict) -> None:
    """What save_tensors writes, in the same way."""
    tensors = dict(sorted(tensors.items()))  # the order of OpenAI's files
    try:
        tf.raw_ops.SaveV2(
            prefix=str(prefix),
            tensor_names=list(tensors),
            shape_and_slices=[''] * len(tensors),
            tensors=[tf.convert_to_tensor(value) for value in tensors.values()],
        )
    except tf.errors.OpError as error:
        raise _system_error(error) from error


def naming(name: str) -> str:
    """What the file `checkpoint` says to name a checkpoint: 'model.ckpt', 'model-7'."""
    return f'model_checkpoint_path: "{name}"\nall_model_checkpoint_paths: "{name}"\n'


def _system_error(error: tf.errors.OpError) -> OSError:
    """What the system told TensorFlow: '... model.ckpt.data-...; File too large [Op:SaveV2]'."""
    reason = error.message.rpartition('; ')[2].partition(' [Op:')[0]
    number = next((n for n in errno.errorcode if os.strerror(n) == reason), None)
    return OSError(number, reason)
