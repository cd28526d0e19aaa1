"""Files for keeps: whole or not at all; and locks."""

import os
from pathlib import Path

from .errors import UserError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None


def write(path, content: str | bytes) -> None:
    """Write a file: aside first, then flushed and renamed; UserError where that fails."""
    path = Path(path)
    aside = path.with_name(f'.{path.name}.part')
    content = content.encode() if isinstance(content, str) else content
    try:
        with open(aside, 'wb') as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    except OSError as error:
        reason = error.strerror or error
        raise UserError(f'{path} cannot be written: {reason}; free some space there') from error


def lock(path, message: str):
    """Hold the file `path` until the `with` is left; UserError(message) where another does."""
    held = open(path, 'w')
    try:
        if fcntl:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise UserError(message) from None
    return held
