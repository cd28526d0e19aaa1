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

ROOM = 1 << 28  # bytes to be free; what is compiled for one model and its options has up to 10 MB
MOST = 50  # files kept


def keep() -> None:
    """Have TensorFlow load what earlier runs compiled, and keep at exit what this one compiles.

    To be called before TensorFlow is imported. It would fail where a file is damaged or a disk is
    full. So it is given a folder of its own, with links to the files that are whole; without
    room, or with flags for XLA in the environment, nothing is loaded or kept.
    """
    if {'XLA_FLAGS', 'TF_XLA_FLAGS'} & os.environ.keys():
        return
    try:
        kept = _folder()
        kept.mkdir(parents=True, exist_ok=True)
        work = tempfile.TemporaryDirectory(prefix='gpt-2-')
        if min(shutil.disk_usage(place).free for place in (kept, work.name)) < ROOM:
            return
        for file in kept.iterdir():
            name, _, checksum = file.name.rpartition('.')
            if checksum != _checksum(file.read_bytes()):
                file.unlink()
                continue
            with contextlib.suppress(FileExistsError):
                os.symlink(file, Path(work.name, name))
            # TensorFlow takes hints for tuning for a processor's features, and reports them.
            os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')
    except OSError:
        return
    os.environ['TF_XLA_FLAGS'] = (
        f"--tf_xla_persistent_cache_directory='{work.name}' "
        '--tf_xla_persistent_cache_device_types=CPU'
    )
    atexit.register(_publish, work, kept)


def _folder() -> Path:
    """A folder for TensorFlow's version and the processor, as the code is for them alone."""
    home = os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache'
    made_for = f'{importlib.metadata.version("tensorflow")} {platform.uname()[4:]}'
    with contextlib.suppress(OSError), open('/proc/cpuinfo') as file:
        made_for += next((line for line in file if line.startswith(('flags', 'Features'))), '')
    return Path(home, 'gpt-2', hashlib.sha256(made_for.encode()).hexdigest()[:16]).absolute()


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
                aside.replace(kept / f'{file.name}.{_checksum(content)}')
        for file in sorted(kept.iterdir(), key=lambda file: file.stat().st_mtime)[:-MOST]:
            file.unlink()
    work.cleanup()
