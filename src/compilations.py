"""What XLA compiled, kept in the user's cache folder for the next start."""

import atexit
import contextlib
import hashlib
import importlib.metadata
import os
import platform
import shutil
import stat
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path

from .errors import UserError
from .files import lock, put_in_place

ROOM = 1 << 28  # bytes to be free; what is compiled for one model and its options has up to 10 MB
MOST = 100  # files kept
PREFIX, LOCK = 'gpt-2-', 'in-use'  # of a process's own folder; the file it holds in there
NVIDIA = Path('/proc/driver/nvidia')

loaded = []  # the folder of links that TensorFlow reads, and the folder they point into


def keep(flags: str) -> str | None:
    """What TF_XLA_FLAGS is to be, for TensorFlow to load what earlier runs compiled under the
    XLA_FLAGS `flags`, and to keep what this one compiles; None where nothing can be kept.

    To be called before TensorFlow is imported. It would fail where a file is damaged or a disk is
    full. So it is given a folder of its own, with links to the files that are whole. And as it
    runs them, they are this user's own, where nobody else can write.
    """
    try:
        cards = _cards()
        kept = _folder(flags, cards)
        for folder in (kept.parent, kept):
            folder.mkdir(0o700, parents=True, exist_ok=True)
            if not _is_own(folder, stat.S_ISDIR):
                return None
        work = _work(kept.parent)
        if shutil.disk_usage(work.name).free < ROOM or "'" in work.name:
            return None
        for file in _files(kept):
            name, _, checksum = file.name.rpartition('.')
            with contextlib.suppress(FileExistsError, FileNotFoundError):  # others end meanwhile
                if checksum == _checksum(file.read_bytes()):
                    os.symlink(file, Path(work.name, name))
                else:
                    file.unlink()
    except (OSError, RuntimeError, UserError):  # RuntimeError: nobody knows this user's home
        return None
    loaded[:] = [Path(work.name), kept]
    atexit.register(_publish, work, kept)
    devices = 'CPU,GPU' if cards else 'CPU'
    return (
        f"--tf_xla_persistent_cache_directory='{work.name}' "
        f'--tf_xla_persistent_cache_device_types={devices}'
    )


def forget() -> bool:
    """Drop what was kept, as TensorFlow could not load it; whether there was any."""
    links = [path for path in loaded[0].iterdir() if path.is_symlink()] if loaded else []
    for link in links:
        Path(os.readlink(link)).unlink(missing_ok=True)
        link.unlink()
    return bool(links)


def _folder(flags: str, cards: str) -> Path:
    """A folder for TensorFlow's version, the flags, the processor and the cards: the code is for
    them alone."""
    home = os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache'
    made_for = f'{importlib.metadata.version("tensorflow")} {flags} {platform.uname()[4:]} {cards}'
    with contextlib.suppress(OSError), open('/proc/cpuinfo') as file:
        made_for += next((line for line in file if line.startswith(('flags', 'Features'))), '')
    return Path(home, 'gpt-2', hashlib.sha256(made_for.encode()).hexdigest()[:16]).absolute()


def _is_own(path: Path, kind: Callable) -> bool:
    """Whether this is itself, not by a link, of the kind S_ISDIR or S_ISREG, and this user's, and
    nobody else can write to it. Windows keeps what is in a user's home from others by itself."""
    found = path.lstat()
    private = os.name == 'nt' or found.st_uid == os.geteuid() and not found.st_mode & 0o022
    return private and kind(found.st_mode)


def _files(kept: Path) -> list[Path]:
    """What is kept, the oldest first; whatever else is there stays unread."""
    ages = {}
    for path in kept.iterdir():
        with contextlib.suppress(FileNotFoundError):
            if _is_own(path, stat.S_ISREG):
                ages[path] = path.stat().st_mtime
    return sorted(ages, key=ages.get)


def _work(place: Path) -> tempfile.TemporaryDirectory:
    """A folder of this process's own, locked while it runs; those that killed ones left go.

    Beside what is kept, on the same disk: so what is new in it only needs another name.
    """
    work = tempfile.TemporaryDirectory(prefix=PREFIX, dir=place)
    lock(Path(work.name, LOCK), 'in use')
    with contextlib.suppress(UserError), lock(Path(work.name, LOCK), 'in use'):
        return work  # held twice: no locks on Windows, nor on some disks, so who knows what is left
    for left in place.glob(f'{PREFIX}*/{LOCK}'):
        with contextlib.suppress(OSError, UserError), lock(left, 'in use'):
            shutil.rmtree(left.parent)
    return work


def _cards() -> str:
    """NVIDIA's driver and the names of its cards, where Linux tells them; else nothing.

    TensorFlow keeps a GPU's code under the program's name alone, not that of the card.
    """
    with contextlib.suppress(OSError):
        models = [path.read_text() for path in sorted(NVIDIA.glob('gpus/*/information'))]
        names = [line for text in models for line in text.splitlines() if line.startswith('Model')]
        return ' '.join([(NVIDIA / 'version').read_text(), *names]) if names else ''
    return ''


def _checksum(content: bytes) -> str:
    return f'{zlib.crc32(content):08x}'


def _publish(work: tempfile.TemporaryDirectory, kept: Path) -> None:
    """Add to `kept` what is new in `work`, each file whole or not at all; drop the oldest."""
    with contextlib.suppress(OSError):
        for file in Path(work.name).glob('*.pb'):
            if not file.is_symlink():
                file.chmod(0o600)
                put_in_place(file, kept / f'{file.name}.{_checksum(file.read_bytes())}')
        for file in _files(kept)[:-MOST]:
            file.unlink()
    work.cleanup()
