"""What XLA compiled, kept in the user's cache folder for the next start."""

import atexit
import contextlib
import hashlib
import importlib.metadata
import os
import platform
import shutil
import tempfile
import zlib
from pathlib import Path

from .files import put_in_place

ROOM = 1 << 28  # bytes to be free; what is compiled for one model and its options has up to 10 MB
MOST = 100  # files kept
NVIDIA = Path('/proc/driver/nvidia')

loaded = []  # the folder of links that TensorFlow reads, and the folder they point into


def keep(flags: str) -> str | None:
    """What TF_XLA_FLAGS is to be, for TensorFlow to load what earlier runs compiled under the
    XLA_FLAGS `flags`, and to keep what this one compiles; None where nothing can be kept.

    To be called before TensorFlow is imported. It would fail where a file is damaged or a disk is
    full. So it is given a folder of its own, with links to the files that are whole.
    """
    try:
        cards = _cards()
        kept = _folder(flags, cards)
        kept.mkdir(parents=True, exist_ok=True)
        work = tempfile.TemporaryDirectory(prefix='gpt-2-')
        if min(shutil.disk_usage(place).free for place in (kept, work.name)) < ROOM:
            return None
        for file in kept.iterdir():
            name, _, checksum = file.name.rpartition('.')
            if checksum == 'part':  # another process is writing it
                continue
            if checksum != _checksum(file.read_bytes()):
                file.unlink()
                continue
            with contextlib.suppress(FileExistsError):
                os.symlink(file, Path(work.name, name))
    except (OSError, RuntimeError):  # RuntimeError: nobody knows where this user's home is
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
                content = file.read_bytes()
                aside = kept / f'{os.getpid()}.part'
                aside.write_bytes(content)
                put_in_place(aside, kept / f'{file.name}.{_checksum(content)}')
        for file in sorted(kept.iterdir(), key=lambda file: file.stat().st_mtime)[:-MOST]:
            file.unlink()
    work.cleanup()
