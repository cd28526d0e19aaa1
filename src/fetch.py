"""Fetches files: resumed where the last try stopped, verified, renamed into place."""

import base64
import contextlib
import dataclasses
import hashlib
import os
import re
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TextIO

import requests
import urllib3
from tqdm import tqdm

from . import files
from .errors import UserError, what_mends

TIMEOUT = 30  # seconds without a byte
WAITS = (1, 2, 4, 8)  # seconds before each new try
BYTES_PER_READ = 2**16
# The figures come first, so that a narrow terminal cuts off the title and the bar.
FIGURES = '{percentage:3.0f}% {n_fmt}/{total_fmt}B {rate_fmt} {remaining} left {desc} {bar}'
BYTES = {'unit': 'B', 'unit_scale': True, 'bar_format': FIGURES}


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


def fetch(wanted: Sequence[File], root: Path, again: str, out: TextIO | None = None) -> list[File]:
    """Bring files into `root` that are missing or broken there; returns those.

    Shows on `out`, None for stderr, how far it is, where that is a terminal. Raises UserError,
    with the command `again`, for what the network and the disk refuse.
    """
    out = out or sys.stderr
    with ending_in(again, root):
        missing = [file for file in wanted if not is_whole(file.path, file, out)]
        _check_room(root, missing)
        for file in missing:
            _fetch(file, again, out)
    return missing


def ask_for_facts(url: str, path: Path, size: int | None, out: TextIO) -> File:
    """What the server tells of a file, which has `size` bytes where that is known."""
    headers = _patiently(url, lambda: _ask('HEAD', url), out).headers
    told = headers.get('Content-Length', '')
    if not re.fullmatch('[0-9]{1,15}', told) or size not in (None, int(told)):
        raise UserError(
            f'{url} has {told or "an unknown number of"} bytes, '
            f'where {size or "a number"} is expected; try another --base_url'
        )
    return File(url, path, int(told), 'md5', headers.get('Content-MD5'))


@contextlib.contextmanager
def ending_in(again: str, place: str | Path) -> Iterator[None]:
    """Makes an OSError a sentence about its file, else about `place`, that ends in `again`."""
    try:
        yield
    except OSError as error:
        what = f'{error}; once that is settled'
        if error.strerror:
            what = f'{error.filename or place}: {error.strerror}; {what_mends(error)}'
            what += ', and once that is settled'
        raise UserError(f'{what}, run: {again}') from error


def find_base(base_url: str | None, variable: str, default: str) -> str:
    """The address below which files are: `base_url`, else what the environment has, else a default.

    Raises UserError where that is no address of the web.
    """
    base = base_url or os.environ.get(variable) or default
    if base.lower().startswith(('http://', 'https://')):
        with contextlib.suppress(ValueError):
            requests.Request('GET', base).prepare()
            return base.rstrip('/')
    raise UserError(
        f'{base!r} is no address as https://example.com/models is; set --base_url or {variable} '
        'to one'
    )


def is_whole(path: Path, file: File, out: TextIO) -> bool:
    """Whether `path` holds what `file` should be; says so while a long one is read."""
    if _size(path) != file.size:
        return False
    if file.digest is None:
        return True
    checksum = hashlib.new(file.algorithm, usedforsecurity=False)
    with (
        open(path, 'rb') as content,
        progress_bar(
            f'check {path.name}', out, total=file.size, delay=1, leave=False, **BYTES
        ) as bar,
    ):
        while some := content.read(BYTES_PER_READ):
            checksum.update(some)
            bar.update(len(some))
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


def _fetch(file: File, again: str, out: TextIO) -> None:
    """Bring the file to its place, by way of its .part, which an interruption leaves behind."""
    file.path.parent.mkdir(parents=True, exist_ok=True)
    have = _size(file.part)
    figures = {'total': file.size, 'initial': have, **BYTES}
    with _alone(file.part, again), progress_bar(file.path.name, out, **figures) as bar:
        for _ in range(2):  # what an earlier run left may be wrong: then once more, from the start
            _patiently(file.url, lambda: _receive(file, bar), out, lambda: _size(file.part))
            if is_whole(file.part, file, out):
                files.put_in_place(file.part, file.path)
                return
            os.truncate(file.part, 0)
        file.part.unlink()
    raise UserError(
        f'{file.url} sends other bytes than the {file.size} with the {file.algorithm} '
        f'{file.digest}; try another --base_url'
    )


@contextlib.contextmanager
def _alone(part: Path, again: str) -> Iterator[None]:
    """Keeps a second download from writing to the same .part, where the system has locks."""
    part.touch()
    settled = f'once that is settled, run: {again}'
    with files.lock(part, f'another download is writing {part}; {settled}') as held:
        # The other download may have renamed it between our open and our lock.
        if held and not (part.exists() and os.path.samestat(os.fstat(held.fileno()), part.stat())):
            raise UserError(f'another download has just finished {part}; {settled}')
        try:
            yield
        finally:
            if part.exists() and not _size(part):  # nothing came: leave nothing
                part.unlink()
                with contextlib.suppress(OSError):
                    part.parent.rmdir()


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
        told = answer.headers.get('Content-Length')
        bar.update(have - bar.n)
        with (
            open(file.part, 'ab' if have else 'wb') as part,
            contextlib.suppress(requests.exceptions.ChunkedEncodingError),  # the size will tell
        ):
            for some in answer.iter_content(BYTES_PER_READ):
                bar.update(part.write(some))
                if part.tell() > file.size:
                    return
    if _size(file.part) < file.size and str(_size(file.part) - have) != told:
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


def _patiently(url: str, task: Callable, out: TextIO, progress: Callable[[], int] = lambda: 0):
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
            reason = getattr(cause, 'strerror', None) or str(cause).strip()
            reason = reason or type(cause).__name__
        except UserError:
            raise
        except (requests.RequestException, urllib3.exceptions.HTTPError, ValueError) as error:
            proxies = requests.utils.get_environ_proxies(url)
            mend = 'unset http_proxy and https_proxy, or try' if proxies else 'try'
            raise UserError(
                f'{url} cannot be fetched: {error}; {mend} another --base_url'
            ) from error
        if progress() > furthest:
            furthest, waits = progress(), list(WAITS)
        if not waits:
            raise OSError(f'{url} cannot be fetched: {reason}')
        wait = waits.pop(0)
        if out.isatty():
            tqdm.write(f'{url}: {reason}; trying again in {wait} s', file=out)
        time.sleep(wait)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def progress_bar(title: str, out: TextIO, **options) -> tqdm:
    """A progress bar where `out` is a terminal, else nothing."""
    return tqdm(desc=title, file=out, disable=None, dynamic_ncols=True, **options)
