"""Fetches OpenAI's files: resumed where the last try stopped, verified, renamed into place."""

import base64
import contextlib
import dataclasses
import hashlib
import os
import shlex
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import requests
from tqdm import tqdm

from .errors import UserError
from .model_folder import ALIASES, OTHER_NAME

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

BASE_URL = 'https://openaipublic.blob.core.windows.net/gpt-2/models'
TIMEOUT = 30  # seconds without a byte
WAITS = (1, 2, 4, 8)  # seconds before each new try
CHUNK = 2**16  # bytes
# The figures come first, so that a narrow terminal cuts off the title and the bar.
FIGURES = '{percentage:3.0f}% {n_fmt}/{total_fmt}B {rate_fmt} {remaining} left {desc} {bar}'
BYTES = {'unit': 'B', 'unit_scale': True, 'bar_format': FIGURES}

# Bytes and SHA-256, where they are known beforehand; the server is asked for the others.
DATA = 'model.ckpt.data-00000-of-00001'
KNOWN_124M = {
    'checkpoint': (77, 'dd1b025d2e155283f5e300ce95bf6d5b6bc0f7fe010db73daa6975eb896ab9cb'),
    'encoder.json': (1042301, '196139668be63f3b5d6574427317ae82f612a97c5d1cdaf36ed2256dbf636783'),
    'hparams.json': (90, 'd9d56e4121c427164e0c55c6f03c08e1daf9002b9b672825112d19097b680318'),
    DATA: (497759232, '2060c885360cc0cf41d7a6dbc4d24b5127aae20260c8b5ae521b5a6578407118'),
    'model.ckpt.index': (5215, '71916f763f9746f9b2a06b12d91996cf1084ae008d0424543d39391c5f2dc687'),
    'model.ckpt.meta': (471155, '4668c448fa11531fd6700460487f73e82d3272960cea942252f8744bf225c77b'),
    'vocab.bpe': (456318, '1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5'),
}
KNOWN_EVERYWHERE = {file: KNOWN_124M[file] for file in ('encoder.json', 'vocab.bpe')}
KNOWN_355M = {
    'checkpoint': (77, None),
    'hparams.json': (91, None),
    DATA: (1419292672, None),
    'model.ckpt.index': (10399, None),
    'model.ckpt.meta': (926519, None),
}
KNOWN = {
    '124M': KNOWN_124M,
    '355M': KNOWN_355M | KNOWN_EVERYWHERE,
    '774M': KNOWN_EVERYWHERE,
    '1558M': KNOWN_EVERYWHERE,
}
FILES = tuple(KNOWN_124M)


@dataclasses.dataclass(frozen=True)
class File:
    """Where a file comes from, where it goes, and what tells that it is whole."""

    url: str
    path: Path
    size: int
    algorithm: str
    digest: str | None  # in hex or base64; None where the server tells no Content-MD5

    @property
    def part(self) -> Path:
        return self.path.with_name(self.path.name + '.part')


def download(
    model_names: Sequence[str],
    models_dir: str | Path = 'models',
    base_url: str | None = None,
    beside: str | Path | None = None,
) -> None:
    """Fetch what is missing or broken of the models, and print the command to try next.

    A relative `models_dir` that exists only next to the file `beside` is that one. Files come
    from `base_url`, else from $GPT2_MODELS_URL, else from BASE_URL. Raises UserError for a
    name that is none, for too little room, and for what the network and the disk refuse.
    """
    _check_names(model_names)
    base = (base_url or os.environ.get('GPT2_MODELS_URL') or BASE_URL).rstrip('/')
    place = ['--models_dir', str(models_dir)] if str(models_dir) != 'models' else []
    source = ['--base_url', base_url] if base_url else []
    again = shlex.join(['python', 'download_model.py', *model_names, *place, *source])
    with _told(models_dir, again):
        root = _find_root(models_dir, beside)
        models = {ALIASES.get(name, name): _find_folder(root, name) for name in model_names}
        names = [(model, name) for model in models for name in FILES]
        with _bar(f'Asking {base}', iterable=names, leave=False) as bar:
            files = [_describe(base, model, name, models[model] / name) for model, name in bar]
    missing = fetch(files, root, again)
    for folder in models.values():
        fetched = sum(file.path.parent == folder for file in missing)
        print(f'{folder}: {len(FILES)} files, {fetched} fetched')
    if unsure := sum(file.digest is None for file in files):
        print(f'{unsure} files could be checked by size only: the server tells no Content-MD5')
    script = 'interactive_conditional_samples.py'
    print('Try:', shlex.join(['python', script, '--model_name', model_names[0], *place]))


def fetch(files: Sequence[File], root: Path, again: str) -> list[File]:
    """Bring files into `root` that are missing or broken there; returns those.

    Raises UserError, with the command `again`, for what the network and the disk refuse.
    """
    with _told(root, again):
        missing = [file for file in files if not _is_whole(file.path, file)]
        _check_room(root, missing)
        for file in missing:
            _fetch(file)
    return missing


@contextlib.contextmanager
def _told(place, again: str) -> Iterator[None]:
    """Makes an OSError a sentence that ends in the command `again`."""
    try:
        yield
    except OSError as error:
        what = f'{error.filename or place}: {error.strerror}' if error.strerror else str(error)
        raise UserError(f'{what}; once that is settled, run: {again}') from error


def _check_names(model_names: Sequence[str]) -> None:
    unknown = [name for name in model_names if name not in OTHER_NAME]
    if unknown or not model_names:
        what = f'no model is called {unknown[0]!r}' if unknown else 'no model is named'
        names = ', '.join(f'{old}/{new}' for old, new in ALIASES.items())
        raise UserError(f'{what}, the names are {names}; run: python download_model.py 124M')


def _find_root(models_dir, beside) -> Path:
    here = Path(models_dir)
    there = Path(beside or '').resolve().parent / models_dir
    return there if beside and there.exists() and not here.exists() else here


def _find_folder(root: Path, model_name: str) -> Path:
    typed, other = root / model_name, root / OTHER_NAME[model_name]
    return other if other.exists() and not typed.exists() else typed


def _describe(base: str, model: str, name: str, path: Path) -> File:
    """What the file should be, from the server where it is not known beforehand."""
    url = f'{base}/{model}/{name}'
    size, sha256 = KNOWN[model].get(name, (None, None))
    if sha256:
        return File(url, path, size, 'sha256', sha256)
    headers = _patiently(url, lambda: _ask('HEAD', url)).headers
    told = headers.get('Content-Length', '')
    if not told.isdigit() or size not in (None, int(told)):
        raise UserError(
            f'{url} has {told or "an unknown number of"} bytes, '
            f'where {size or "a number"} is expected; try another --base_url'
        )
    return File(url, path, int(told), 'md5', headers.get('Content-MD5'))


def _is_whole(path: Path, file: File) -> bool:
    """Whether `path` holds what `file` should be; says so while a long one is read."""
    if _size(path) != file.size:
        return False
    if file.digest is None:
        return True
    checksum = hashlib.new(file.algorithm, usedforsecurity=False)
    with (
        open(path, 'rb') as content,
        _bar(f'check {path.name}', total=file.size, delay=1, leave=False, **BYTES) as bar,
    ):
        while chunk := content.read(CHUNK):
            checksum.update(chunk)
            bar.update(len(chunk))
    return file.digest in (checksum.hexdigest(), base64.b64encode(checksum.digest()).decode())


def _check_room(root: Path, missing: list[File]) -> None:
    needed = sum(max(0, file.size - _size(file.part)) for file in missing)
    disk = next(path for path in (root, *root.absolute().parents) if path.exists())
    free = shutil.disk_usage(disk).free
    if needed > free:
        needed, free = (tqdm.format_sizeof(n, 'B') for n in (needed, free))
        raise UserError(
            f'{needed} are still to be fetched, and {root} has room for {free}; '
            'make room, or name another folder in the command'
        )


def _fetch(file: File) -> None:
    """Bring the file to its place, by way of its .part, which an interruption leaves behind."""
    file.path.parent.mkdir(parents=True, exist_ok=True)
    have = _size(file.part)
    with _alone(file.part), _bar(file.path.name, total=file.size, initial=have, **BYTES) as bar:
        for _ in range(2):  # what an earlier run left may be wrong: then once more, from the start
            _patiently(file.url, lambda: _receive(file, bar), lambda: _size(file.part))
            if _is_whole(file.part, file):
                with open(file.part, 'rb+') as part:
                    os.fsync(part.fileno())
                file.part.replace(file.path)
                return
            os.truncate(file.part, 0)
        file.part.unlink()
    raise UserError(
        f'{file.url} sends other bytes than the {file.size} with the {file.algorithm} '
        f'{file.digest}; try another --base_url'
    )


@contextlib.contextmanager
def _alone(part: Path) -> Iterator[None]:
    """Keeps a second download from writing to the same .part, where the system has locks."""
    with open(part, 'ab') as held:
        if fcntl is None:
            held.close()  # Windows renames no open file
            yield
            return
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BlockingIOError(f'another download is writing {part}') from None
        except OSError:
            pass  # a filesystem without locks, as some that clusters mount
        # The other download may have renamed it between our open and our lock.
        if not part.exists() or not os.path.samestat(os.fstat(held.fileno()), part.stat()):
            raise BlockingIOError(f'another download has just finished {part}')
        yield


def _receive(file: File, bar: tqdm) -> None:
    """Ask once for what the .part lacks, and append what comes."""
    have = _size(file.part)
    if have >= file.size:
        return
    with _ask('GET', file.url, {'Range': f'bytes={have}-'} if have else {}) as answer:
        if answer.status_code == 200:
            have = 0  # the whole file comes, asked for or not
        elif answer.headers.get('Content-Range') != f'bytes {have}-{file.size - 1}/{file.size}':
            os.truncate(file.part, 0)
            raise requests.ConnectionError('the server sent another piece than the one asked for')
        bar.update(have - bar.n)
        with (
            open(file.part, 'ab' if have else 'wb') as part,
            contextlib.suppress(requests.exceptions.ChunkedEncodingError),  # the size will tell
        ):
            for chunk in answer.iter_content(CHUNK):
                bar.update(part.write(chunk))
                if part.tell() > file.size:
                    return
    if _size(file.part) < file.size:
        raise requests.ConnectionError('the connection was cut')


def _ask(method: str, url: str, headers: dict | None = None) -> requests.Response:
    """An answer that brings bytes of a file, or says that it has none in that range (416)."""
    # Without this a server may compress, and Content-Length would count compressed bytes.
    headers = {'Accept-Encoding': 'identity'} | (headers or {})
    answer = requests.request(method, url, headers=headers, stream=True, timeout=TIMEOUT)
    status, kind = answer.status_code, answer.headers.get('Content-Type', '')
    if status >= 500 or status == 429:
        raise requests.ConnectionError(f'the server answers {status} {answer.reason}')
    is_page = 'xml' in kind or 'html' in kind
    if status != 416 and (status not in (200, 206) or is_page):
        page = f', a page of type {kind}' if is_page else ''
        raise UserError(f'{url} answers {status} {answer.reason}{page}; try another --base_url')
    return answer


def _patiently(url: str, task: Callable, progress: Callable[[], int] = lambda: 0):
    """What task() returns, tried again after longer and longer pauses while the network fails.

    A try that got further than all before it, by progress(), is followed by short pauses again.
    """
    furthest, waits = progress(), list(WAITS)
    while True:
        try:
            return task()
        except (requests.ConnectionError, requests.Timeout) as error:
            cause = error
            while cause.__context__ is not None:  # under four exceptions: 'Connection refused'
                cause = cause.__context__
            reason = getattr(cause, 'strerror', None) or str(cause)
        if progress() > furthest:
            furthest, waits = progress(), list(WAITS)
        if not waits:
            raise OSError(f'{url} cannot be fetched: {reason}')
        wait = waits.pop(0)
        if sys.stdout.isatty():
            tqdm.write(f'{url}: {reason}; trying again in {wait} s')
        time.sleep(wait)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _bar(title: str, **options) -> tqdm:
    """A progress bar on stdout where that is a terminal, else nothing."""
    return tqdm(desc=title, file=sys.stdout, disable=None, dynamic_ncols=True, **options)
