"""A model's folder: its two names, the files in it, its hyperparameters. No TensorFlow."""

import json
import re
import shlex
from pathlib import Path

from .errors import UserError
from .hparams import HParams, default_hparams

RELEASED = ('124M', '355M', '774M', '1558M')
ALIASES = dict(zip(('117M', '345M', '762M', '1542M'), RELEASED, strict=True))
OTHER_NAME = ALIASES | {new: old for old, new in ALIASES.items()}
CLONE = Path(__file__).resolve().parent.parent
FILES = ('checkpoint', 'encoder.json', 'hparams.json', 'vocab.bpe')


def find_model(model_name: str, models_dir='models', files=FILES) -> Path:
    """The folder of a model, under either of its names: '117M' -> models/124M.

    A relative `models_dir` is looked up in the working directory, then in the clone that this
    file is of. Raises UserError where no folder is found or it lacks one of `files`.
    """
    places = [Path(models_dir), CLONE / models_dir]
    names = [model_name, OTHER_NAME.get(model_name, model_name)]
    folders = [place / name for place in places for name in names]
    for folder in filter(Path.is_dir, folders):
        for name in files:
            if not (folder / name).exists():
                raise UserError(f'{folder / name} is missing; {how_to_mend(folder)}')
        if 'checkpoint' in files:
            checkpoint_prefix(folder)
        return folder
    found = sorted({path.parent.name for place in places for path in place.glob('*/hparams.json')})
    there = f'there: {", ".join(found)}' if found else 'no model is there'
    command = how_to_mend(folders[0]) if model_name in OTHER_NAME else 'set --model_name to one'
    raise UserError(f'no model in {folders[0]} ({there}); {command}')


def how_to_mend(folder) -> str:
    """The end of an error sentence about a model's file: the command that brings it back."""
    folder = Path(folder)
    if folder.name in OTHER_NAME:
        place = [] if folder.parent == Path('models') else ['--models_dir', str(folder.parent)]
        return f'run: {shlex.join(["python", "download_model.py", folder.name, *place])}'
    return f'put the files of {folder} back from where they came'


def load_hparams(folder) -> HParams:
    """Read a folder's hparams.json."""
    path = Path(folder) / 'hparams.json'
    try:
        hparams = default_hparams().override_from_dict(json.loads(path.read_text('utf-8')))
    except (OSError, AttributeError, ValueError) as error:
        raise UserError(f'{path} cannot be read: {error}; {how_to_mend(folder)}') from error
    if not hparams.n_vocab:
        raise UserError(f'{path} does not say n_vocab; {how_to_mend(folder)}')
    return hparams


def checkpoint_prefix(folder_or_prefix) -> Path:
    """The prefix of a checkpoint's files, which a folder's `checkpoint` file names.

    models/124M -> models/124M/model.ckpt; a prefix is returned as it is. Raises UserError
    where the .index file or the first .data file is missing.
    """
    prefix = Path(folder_or_prefix)
    if prefix.is_dir():
        prefix /= _latest(prefix)
    for name in (f'{prefix.name}.index', f'{prefix.name}.data-00000-of-*'):
        if not any(prefix.parent.glob(name)):
            missing = prefix.with_name(name.replace('*', '00001'))
            folder = prefix if prefix.name in OTHER_NAME else prefix.parent
            raise UserError(f'{missing} is missing; {how_to_mend(folder)}')
    return prefix


def _latest(folder: Path) -> str:
    path = folder / 'checkpoint'
    try:
        named = re.search(r'^model_checkpoint_path: "(.+)"$', path.read_text('utf-8'), re.M)
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f'{path} cannot be read: {error}; {how_to_mend(folder)}') from error
    if named is None:
        raise UserError(f'{path} names no checkpoint; {how_to_mend(folder)}')
    return Path(named[1]).name  # beside it, also when the folder was written elsewhere
