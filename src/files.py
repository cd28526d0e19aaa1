"""Writes files for keeps, whole or not at all: aside, flushed, renamed. Takes locks."""

import contextlib
import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from .errors import UserError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

NO_ROOM = (errno.ENOSPC, errno.EFBIG, getattr(errno, 'EDQUOT', errno.ENOSPC))
HELD = []  # the files of locks: a file that is forgotten is closed, and its lock is gone


def write(path: str | Path, content: str | bytes) -> None:
    """Write a small file; text as UTF-8. Raises UserError where it cannot be written."""
    with writing(path) as file:
        file.write(content.encode('utf-8') if isinstance(content, str) else content)


@contextlib.contextmanager
def writing(path: str | Path) -> Iterator[BinaryIO]:
    """An open file, `path`.part, that takes its place once all is well, and else goes.

    Raises UserError where it cannot be written.
    """
    path = Path(path)
    aside = path.with_name(f'{path.name}.part')
    with explained(path):
        try:
            with open(aside, 'wb') as file:
                yield file
            put_in_place(aside, path)
        finally:
            aside.unlink(missing_ok=True)


@contextlib.contextmanager
def writing_prefix(prefix: str | Path) -> Iterator[Path]:
    """A prefix in a folder aside, whose files take their places once all is well, and else go.

    In the order of their names: .data before .index. Makes the folders that are missing. Raises
    UserError where they cannot be written.
    """
    prefix = Path(prefix)
    aside = prefix.with_name(f'.{prefix.name}.part')
    with explained(prefix):
        try:
            shutil.rmtree(aside, ignore_errors=True)  # what a killed process has left
            aside.mkdir(parents=True)
            yield aside / prefix.name
            for path in sorted(aside.iterdir()):
                put_in_place(path, prefix.with_name(path.name))
        finally:
            shutil.rmtree(aside, ignore_errors=True)


def put_in_place(aside: Path, path: Path) -> None:
    """Have the disk hold a file that was written aside, then give it its name."""
    with open(aside, 'rb+') as file:
        os.fsync(file.fileno())
    aside.replace(path)


@contextlib.contextmanager
def explained(path: str | Path) -> Iterator[None]:
    """Makes an OSError the sentence that `path` cannot be written, and what mends it."""
    try:
        yield
    except OSError as error:
        what_mends = 'choose another place or change its permissions'
        if error.errno in NO_ROOM:
            what_mends = 'free some space there'
        reason = error.strerror or str(error)
        raise UserError(f'{path} cannot be written: {reason}; {what_mends}') from error


def lock(path: str | Path, message: str) -> contextlib.AbstractContextManager:
    """Hold the file `path`, made where it is missing, until a `with` is left or the process ends.

    Raises UserError, `message`, where another process holds it. `as` gives the open file; None
    on Windows, where nothing is held, nor is it on a disk without locks.
    """
    if fcntl is None:
        return contextlib.nullcontext()
    with explained(path):
        file = open(path, 'ab')
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise UserError(message) from None
    except OSError:
        pass  # a disk without locks, as some that clusters mount
    HELD.append(file)
    return file
