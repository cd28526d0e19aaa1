"""Ends processes at once at each of their file operations, and looks at what they leave.

`python dying.py SCENARIO` prints a JSON object: how many deaths there were, what was wrong after
one of them, and how the process ended that did not die. It writes in the working directory.
TensorFlow, whose threads no fork survives, is a stub that writes small files; all else is the
package's own.
"""

import builtins
import io
import itertools
import json
import os
import shutil
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import MagicMock

DEAD = 77  # the exit status of a process that died where it was to


def save_v2(prefix, tensor_names, tensors, **_):
    for end in ('data-00000-of-00001', 'index'):
        with open(f'{prefix}.{end}', 'wb') as file:
            file.write(json.dumps(dict(zip(tensor_names, tensors, strict=True))).encode())


sys.modules['tensorflow'] = MagicMock(
    raw_ops=SimpleNamespace(SaveV2=save_v2),
    convert_to_tensor=lambda value: value,
    errors=SimpleNamespace(OpError=type('OpError', (Exception,), {})),
)


class Death:
    """Ends this process at its file operation number `left`, counted from 0."""

    def __init__(self, left: int):
        self.left = left

    def near(self) -> None:
        if self.left == 0:
            os._exit(DEAD)
        self.left -= 1

    def enter(self) -> None:
        """Make all that changes files go by here first; the process does not come back."""
        for name in ('fsync', 'link', 'mkdir', 'remove', 'rename', 'replace', 'rmdir', 'truncate'):
            setattr(os, name, self._before(getattr(os, name)))
        os.unlink = self._before(os.unlink)
        self.os_open, os.open = os.open, self._os_open
        self.io_open, io.open, builtins.open = io.open, self._open, self._open

    def _before(self, function: Callable) -> Callable:
        def operation(*args, **kwargs):
            self.near()
            return function(*args, **kwargs)

        return operation

    def _os_open(self, path, flags, *args, **kwargs):
        if flags & os.O_CREAT:
            self.near()
        return self.os_open(path, flags, *args, **kwargs)

    def _open(self, path, mode='r', buffering=-1, encoding=None, *args, **kwargs):
        if not set(mode) & set('wxa+'):
            return self.io_open(path, mode, buffering, encoding, *args, **kwargs)
        self.near()
        file = DyingFile(path, mode.replace('b', ''))
        file.near = self.near
        if 'b' in mode:
            return file
        return io.TextIOWrapper(file, encoding, *args, write_through=True, **kwargs)


class DyingFile(io.FileIO):
    """Writes at once, half by half."""

    def write(self, content):
        content = bytes(content)
        for part in (content[: len(content) // 2], content[len(content) // 2 :]):
            self.near()
            super().write(part)
        return len(content)


def end_of(act: Callable, *args) -> int:
    """The exit status of a process of its own that calls act(*args)."""
    pid = os.fork()
    if pid == 0:
        try:
            act(*args)
            os._exit(0)
        except BaseException:
            traceback.print_exc()
        os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def die(act: Callable, at: int) -> None:
    Death(at).enter()
    act()


def look(scenario) -> None:
    scenario.check()
    scenario.again()


def try_all(scenario) -> dict:
    """Let scenario.act die at each operation: {'deaths', 'wrong', 'ended'}."""
    template, work, wrong = Path('template').absolute(), Path('work').absolute(), []
    template.mkdir()
    os.chdir(template)
    scenario.prepare()
    for at in itertools.count():
        os.chdir(template.parent)
        shutil.rmtree(work, ignore_errors=True)
        shutil.copytree(template, work)
        os.chdir(work)
        ended = end_of(die, scenario.act, at)
        if end_of(look, scenario):
            there = sorted(str(path) for path in Path().rglob('*') if path.is_file())
            wrong.append(f'operation {at}: {there}')
        if ended != DEAD:
            os.chdir(template.parent)
            return {'deaths': at, 'wrong': wrong, 'ended': ended}


if __name__ == '__main__':
    import scenarios

    scenario = scenarios.SCENARIOS[sys.argv[1]]()
    os.fsync = lambda number: None  # the system outlives its processes
    try:
        print(json.dumps(try_all(scenario)))
    finally:
        scenario.end()
