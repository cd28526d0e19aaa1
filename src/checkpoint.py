"""OpenAI's checkpoint format, in and out: TensorFlow's name-based V2 checkpoints."""

import math
import os
import shutil
from pathlib import Path

import tensorflow as tf
from tqdm import tqdm

from .errors import UserError
from .hparams import HParams
from .model import flatten, nest, param_shapes
from .model_folder import checkpoint_prefix, how_to_mend


def load_params(folder_or_prefix, hparams: HParams) -> dict:
    """The parameters in a model's folder, or under a checkpoint's prefix.

    Variables beyond the model's own (an optimizer's, say) are left alone. Returns a nested
    dict of tf.Variable, float32. Raises UserError where a file or a variable is missing,
    damaged, or of another shape than hparams say.
    """
    prefix = checkpoint_prefix(folder_or_prefix)
    shapes = param_shapes(hparams)
    flat = {}
    try:
        _check_shapes(prefix, shapes, hparams)
        # The largest first: the copy that reading it takes is gone before the others come.
        names = sorted(shapes, key=lambda name: -math.prod(shapes[name]))
        for name in tqdm(names, 'Loading', delay=1, leave=False, disable=None, unit=' variables'):
            flat[name] = tf.Variable(_restore(prefix, name), name=f'model/{name}')
    except (tf.errors.OpError, RuntimeError) as error:
        reason = str(error).partition('\n')[0]
        raise UserError(f'{prefix} is damaged ({reason}); {how_to_mend(prefix.parent)}') from error
    return nest({name: flat[name] for name in shapes})


def _restore(prefix: Path, name: str):
    """One variable's value; TensorFlow checks its checksum."""
    return tf.raw_ops.RestoreV2(
        prefix=str(prefix),
        tensor_names=[f'model/{name}'],
        shape_and_slices=[''],
        dtypes=[tf.float32],
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

    The files are written aside, flushed and renamed; then the folder's `checkpoint` file
    names them. Raises UserError where the disk is full or cannot be written.
    """
    prefix = Path(prefix)
    aside = prefix.with_name(f'.{prefix.name}.part')
    flat = dict(sorted(flatten(params).items()))  # the order of OpenAI's files
    try:
        aside.mkdir(parents=True, exist_ok=True)
        tf.raw_ops.SaveV2(
            prefix=str(aside / prefix.name),
            tensor_names=[f'model/{name}' for name in flat],
            shape_and_slices=[''] * len(flat),
            tensors=[tf.convert_to_tensor(value) for value in flat.values()],
        )
        written = [*sorted(aside.glob(f'{prefix.name}.*')), aside / 'checkpoint']
        written[-1].write_text(
            f'model_checkpoint_path: "{prefix.name}"\n'
            f'all_model_checkpoint_paths: "{prefix.name}"\n',
            encoding='utf-8',
        )
        for path in written:  # .data before .index, and `checkpoint` last
            with open(path, 'rb') as file:
                os.fsync(file.fileno())
            path.replace(prefix.with_name(path.name))
    except (tf.errors.OpError, OSError) as error:
        reason = str(error).partition('\n')[0]
        raise UserError(f'{prefix} cannot be written: {reason}; free some space there') from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)
