"""Token chunks in files, where they stay until they are sliced. No TensorFlow."""

import dataclasses
import errno
import os
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from tqdm import tqdm

from .. import files
from ..errors import UserError

CHECKED_BYTES = 2**24  # of each file, when it is opened; the rest when it is read
BYTES_PER_READ = 2**20  # at a time, where chunks are unpacked
HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


@dataclasses.dataclass(frozen=True)
class TokenFile:
    """A file that holds chunks as they are, for a model whose highest id is `last`."""

    path: Path
    last: int
    stamp: tuple  # its length and time, which change where it is written anew

    def read(self, offset: int, length: int, dtype: np.dtype) -> np.ndarray:
        """`length` tokens from the byte `offset` on, in the type that the file has."""
        try:
            if stamp(self.path) != self.stamp:
                raise UserError(f'{self.path} was written anew; run the same command again')
            ids = np.fromfile(self.path, dtype, length, offset=offset)
        except OSError as error:
            raise UserError(f'{self.path} cannot be read: {error.strerror}') from error
        check_ids(ids, self.path, self.last)
        return ids


@dataclasses.dataclass(frozen=True, slots=True)
class Chunk:
    """Tokens of a file; a slice reads them."""

    file: TokenFile
    offset: int  # of the first, in bytes
    length: int
    dtype: np.dtype

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, window: slice) -> np.ndarray:
        start, stop, _ = window.indices(self.length)
        offset = self.offset + start * self.dtype.itemsize
        return self.file.read(offset, stop - start, self.dtype)


def stamp(path: Path) -> tuple:
    found = os.stat(path)
    return found.st_size, found.st_mtime_ns


def check_ids(ids: np.ndarray, path: Path, last: int) -> None:
    """Raise UserError for an id that a model with the ids 0 to `last` does not have."""
    if ids.size and not 0 <= ids.min() <= ids.max() <= last:
        wrong = ids.min() if ids.min() < 0 else ids.max()
        raise UserError(
            f'{path} holds the id {wrong}, and the model has 0 to {last}; '
            f'name the model it was encoded for, or {mend(path)}'
        )


def mend(path: Path) -> str:
    return f'run: python encode.py TEXT {path}'


def write_npz(path: Path, chunks: Iterable[np.ndarray]) -> tuple[int, int]:
    """Write what np.savez would, chunk by chunk; returns how many, and their tokens.

    Raises UserError where `path` cannot be written.
    """
    number = tokens = 0
    # Stored plainly: train.py then reads a window where it stands, and holds no chunk.
    with (
        files.writing(path) as file,
        zipfile.ZipFile(file, 'w', zipfile.ZIP_STORED) as archive,
    ):
        for ids in chunks:
            with archive.open(f'arr_{number}.npy', 'w', force_zip64=True) as member:
                np.lib.format.write_array(member, ids, allow_pickle=False)
            number, tokens = number + 1, tokens + len(ids)
    return number, tokens


def read_npz(path: Path, last: int) -> list:
    """The chunks of an .npz for a model whose highest id is `last`, to be sliced.

    What is stored plainly, as encode.py does, stays where it is; what is compressed, as in
    older files, is unpacked into a temporary file. Raises UserError where they are no token
    chunks, and for ids that the model does not have: here, or where they are read.
    """
    try:
        if not zipfile.is_zipfile(path):
            raise ValueError('it is no zip archive')
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            bar = tqdm(members, f'Opening {path}', delay=1, leave=False, disable=None)
            if any(member.compress_type != zipfile.ZIP_STORED for member in members):
                parts = (_inflate(archive, member, path, last) for member in bar)
                return spool(parts, np.min_scalar_type(last))
            file = TokenFile(path, last, stamp(path))
            chunks = [_locate(archive, member, file) for member in bar]
    except UserError:
        raise
    except (OSError, EOFError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        raise UserError(f'{path} holds no token chunks: {error}; {mend(path)}') from error
    left = CHECKED_BYTES
    for chunk in chunks:
        left -= chunk[: left // chunk.dtype.itemsize].nbytes
    return [chunk for chunk in chunks if len(chunk)]


def _header(member, size: int) -> tuple[int, np.dtype]:
    """How many tokens an .npy of `size` bytes holds, and of which type; reads up to the first."""
    name = member.name.removesuffix('.npy')
    version = np.lib.format.read_magic(member)
    if version not in HEADERS:
        raise ValueError(f'{name} is of the version {version}')
    shape, _, dtype = HEADERS[version](member)
    if len(shape) != 1 or dtype.kind not in 'iu':
        raise ValueError(f'{name} is {dtype} of shape {shape}')
    if size != member.tell() + shape[0] * dtype.itemsize:
        raise ValueError(f'{name} is cut short')
    return shape[0], dtype


def _locate(archive: zipfile.ZipFile, info: zipfile.ZipInfo, file: TokenFile) -> Chunk:
    """A member that is stored plainly."""
    with archive.open(info) as member:
        length, dtype = _header(member, info.file_size)
        start = member.tell()
    archive.fp.seek(info.header_offset + 26)  # of its own header, which its name and more end
    start += info.header_offset + 30 + sum(struct.unpack('<HH', archive.fp.read(4)))
    return Chunk(file, start, length, dtype)


def _inflate(
    archive: zipfile.ZipFile, info: zipfile.ZipInfo, path: Path, last: int
) -> Iterator[np.ndarray]:
    """The tokens of a compressed member, in parts; the end of it checks its checksum."""
    with archive.open(info) as member:
        _, dtype = _header(member, info.file_size)
        while content := member.read(BYTES_PER_READ):
            ids = np.frombuffer(content, dtype)
            check_ids(ids, path, last)
            yield ids


def spool(chunks: Iterable[Iterable[np.ndarray]], dtype: np.dtype) -> list[np.ndarray]:
    """Chunks, each in parts, mapped from a temporary file, which goes when the process ends."""
    lengths = []
    try:
        with tempfile.TemporaryFile() as file:
            for parts in chunks:
                written = sum(file.write(part.astype(dtype, copy=False)) for part in parts)
                lengths.append(written // dtype.itemsize)
            file.flush()
            if not any(lengths):
                return []
            tokens = np.asarray(np.memmap(file, dtype, 'r'))
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        raise UserError(
            f'{tempfile.gettempdir()} has no room for the tokens; '
            'set TMPDIR to a folder that has, or run: python encode.py TEXT OUT.npz'
        ) from error
    ends = np.cumsum(lengths)
    return [tokens[end - length : end] for length, end in zip(lengths, ends, strict=True) if length]
