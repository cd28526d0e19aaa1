"""A path, as a user writes it. No TensorFlow."""

import os
import shlex
from pathlib import Path

from .errors import UserError


def expanded(path: str | Path) -> str:
    """'~/data/$NAME.txt' -> '/home/me/data/tales.txt'; UserError where it is empty."""
    if not isinstance(path, str | os.PathLike):
        raise UserError(f'a path is text, as in models_dir="models", not {path!r}')
    if not os.fspath(path):
        raise UserError('a path is empty; name a file or a folder')
    return os.path.expanduser(os.path.expandvars(path))


def is_path(model_name: str | Path) -> bool:
    """Whether a model's name is a path, by how it begins: '/data/m', './m', '../m', '~/m'."""
    if not isinstance(model_name, str | os.PathLike) or not os.fspath(model_name):
        return False
    path = expanded(model_name)
    return os.path.isabs(path) or path.startswith(('./', '../'))


def check_name(model_name: str | Path) -> None:
    """Raise UserError for what names no folder below the models folder."""
    if not isinstance(model_name, str | os.PathLike) or not os.fspath(model_name):
        raise UserError(f'--model_name is the name of a folder, not {model_name!r}; set it to one')
    if '..' in Path(model_name).parts or any(len(p) > 255 for p in Path(model_name).parts):
        raise UserError(
            f'--model_name is the name of a folder, not {str(model_name)!r:.80}; '
            'set --models_dir to where it is'
        )


def check_parent(path: Path) -> None:
    """Raise UserError where the folder is missing that a file is to be written to."""
    parent = path.parent
    if parent.is_dir():
        return
    if parent.exists():
        raise UserError(f'{parent} is no folder; choose another place for {path.name}')
    command = ['mkdir', *([] if parent.parent.is_dir() else ['-p']), str(parent)]
    raise UserError(f'there is no folder {parent} for {path.name}; run: {shlex.join(command)}')
