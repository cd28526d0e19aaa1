"""Writes files for keeps, whole or not at all: aside, flushed, renamed. Takes locks."""

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from .errors import UserError, what_mends

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

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
def writing_prefix(
    prefix: str | Path, last: Sequence[str] = (), make_way: Callable[[], None] | None = None
) -> Iterator[Path]:
    """A prefix in a folder aside, whose files take their places once all is well, and else go.

    In the order of their names, .data before .index, but for those named in `last`: what makes
    the others count is to come after them. make_way: called in between, when the disk holds all
    of them. Makes the folders that are missing. Raises UserError where they cannot be written.
    """
    prefix = Path(prefix)
    aside = prefix.with_name(f'.{prefix.name}.part')
    with explained(prefix):
        try:
            shutil.rmtree(aside, ignore_errors=True)  # what a killed process has left
            aside.mkdir(parents=True)
            yield aside / prefix.name
            paths = sorted(path for path in aside.iterdir() if path.name not in last)
            paths += [aside / name for name in last]
            for path in paths:
                flush(path)
            if make_way:
                make_way()
            for path in paths:
                put_in_place(path, prefix.with_name(path.name))
        finally:
            shutil.rmtree(aside, ignore_errors=True)


@contextlib.contextmanager
def writing_folder(folder: str | Path) -> Iterator[Path]:
    """A new folder, aside, that gets its name once all is well in it, and else goes.

    Makes its parents. Raises UserError where it cannot be written, or holds something already.
    """
    folder = Path(folder)
    aside = folder.with_name(f'.{folder.name}.part')
    check_new(folder)
    with explained(folder):
        try:
            shutil.rmtree(aside, ignore_errors=True)  # what a killed process has left
            aside.mkdir(parents=True)
            yield aside
            for path in aside.rglob('*'):
                if path.is_file():
                    flush(path)
            aside.replace(folder)
        finally:
            shutil.rmtree(aside, ignore_errors=True)


def check_new(folder: Path) -> None:
    """Raise UserError where something is in a folder that is to be made."""
    with explained(folder):
        if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
            raise UserError(f'{folder} is there already; name another folder')


def append(path: str | Path, lines: str, end: int) -> int:
    """Write whole lines to a file behind its first `end` bytes, in place of what is there; its
    new end. Has the disk hold them. Raises UserError where it cannot be written."""
    with explained(path), open(path, 'rb+') as file:
        file.truncate(end)
        file.seek(end)
        file.write(lines.encode('utf-8'))
        file.flush()
        os.fsync(file.fileno())
        return file.tell()


def flush(path: Path) -> None:
    """Have the disk hold a file that was written."""
    with open(path, 'rb+') as file:
        os.fsync(file.fileno())


def put_in_place(aside: Path, path: Path) -> None:
    """Have the disk hold a file that was written aside, then give it its name."""
    flush(aside)
    aside.replace(path)


def sweep(folder: Path) -> None:
    """Delete what killed processes have left in a folder that this one alone writes: *.part."""
    for part in folder.glob('*.part'):
        if part.is_dir():
            shutil.rmtree(part, ignore_errors=True)
        else:
            part.unlink()


@contextlib.contextmanager
def explained(path: str | Path) -> Iterator[None]:
    """Makes an OSError the sentence that `path` cannot be written, and what mends it."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise UserError(f'{path} cannot be written: {reason}; {what_mends(error)}') from error


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
