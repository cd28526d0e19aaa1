"""Line editing at a terminal, and the prompts of earlier sessions for its arrow keys."""

import contextlib
import fcntl
import os
import readline
from pathlib import Path

MOST = 1000  # lines of the file


class History:
    """Has input() edit lines and take several pasted ones as one; recalls what add() is given.

    What is kept for later sessions is $XDG_STATE_HOME/gpt-2/history, by default in
    ~/.local/state. Where it cannot be read or written, this session's prompts are all there is.
    """

    def __init__(self):
        readline.parse_and_bind('set enable-bracketed-paste on')
        readline.set_auto_history(False)
        self.path = find()
        kept = read(self.path)
        for text in kept:
            readline.add_history(text)
        self.last = kept[-1] if kept else None

    def add(self, text: str) -> None:
        """Keep a prompt of one or more lines, unless it is the one before."""
        if text != self.last:
            self.last = text
            readline.add_history(text)
            append(self.path, text)


def find() -> Path | None:
    """The file; None for one without a home."""
    home = os.environ.get('HOME')
    for folder in (os.environ.get('XDG_STATE_HOME'), home and f'{home}/.local/state'):
        if folder and os.path.isabs(folder):
            return Path(folder, 'gpt-2', 'history')
    return None


def read(path: Path | None) -> list[str]:
    """The prompts that are kept, the last one last."""
    try:
        if path is None or not path.is_file():
            return []
        text = path.read_bytes().decode('utf-8', 'replace').replace('\0', '')
    except OSError:
        return []
    return [_lines(line) for line in text.split('\n')[-MOST - 1 :] if line]


def append(path: Path | None, text: str) -> None:
    """Keep one more, of which only the user reads; several sessions may, at the same time."""
    if path is None:
        return
    with contextlib.suppress(OSError):
        if path.exists() and not path.is_file():  # a device, that has no end
            return
        path.parent.mkdir(0o700, parents=True, exist_ok=True)
        with open(path, 'ab+', opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.seek(0)
            lines = file.readlines()
            lines.append(_one_line(text).encode('utf-8', 'replace') + b'\n')
            if len(lines) > MOST:
                file.truncate(0)
                file.writelines(lines[-MOST:])
            else:
                file.write(lines[-1])


def _one_line(text: str) -> str:
    """Several lines as one of the file, with an escaped n where the next begins."""
    return text.replace('\\', r'\\').replace('\n', r'\n')


def _lines(line: str) -> str:
    """What _one_line was given."""
    return '\\'.join(part.replace(r'\n', '\n') for part in line.split(r'\\'))
