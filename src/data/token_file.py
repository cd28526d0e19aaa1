"""Token chunks in files, where they stay until they are sliced. No TensorFlow."""

import contextlib
import dataclasses
import errno
import lzma
import os
import re
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from .. import files
from ..errors import UserError, what_mends

CHECKED_BYTES = 2**24  # of each file, when it is opened; the rest when it is read
BYTES_PER_READ = 2**20  # at a time, where chunks are unpacked or summed
HEADER = re.compile(  # of an .npy, for an array of one plain type
    r"\{'descr': '([<>|=]?\w+)', 'fortran_order': (?:True|False), "
    r"'shape': (\([\dL, ]*\)),? *\}\s*"
)
LENGTHS = {(1, 0): '<H', (2, 0): '<I'}  # how each version of .npy writes the header's length
LONGEST_HEADER = 2**12  # in bytes; numpy's have 118
DESCRIPTORS = (12, 16, 20, 24)  # bytes that may follow a member which was written to a pipe
BROKEN = (  # what zipfile raises for damage; RuntimeError also where it cannot unpack
    OSError,
    EOFError,
    ValueError,
    RuntimeError,
    OverflowError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
)


@dataclasses.dataclass(frozen=True)
class TokenFile:
    """A file that holds chunks as they are, for a model whose highest id is `last`."""

    path: Path
    last: int
    stamp: tuple  # its length and time, which change where it is written anew
    whole: set = dataclasses.field(default_factory=set, compare=False)  # members found to be so

    def read(self, offset: int, length: int, dtype: np.dtype) -> np.ndarray:
        """`length` tokens from the byte `offset` on, in the type that the file has."""
        with self._unchanged():
            ids = np.fromfile(self.path, dtype, length, offset=offset)
        check_ids(ids, self.path, self.last)
        return ids

    def check(self, member: 'Member') -> None:
        """Raise UserError for a member that has not its checksum; reads it once in a process."""
        if member.start in self.whole:
            return
        crc, left = 0, member.size
        with self._unchanged(), open(self.path, 'rb') as file:
            file.seek(member.start)
            while left and (content := file.read(min(left, BYTES_PER_READ))):
                crc, left = zlib.crc32(content, crc), left - len(content)
        if left or crc != member.crc:
            what = f'{self.path} is damaged: {member.name} does not have its checksum'
            raise UserError(f'{what}; {mend(self.path)}')
        self.whole.add(member.start)

    @contextlib.contextmanager
    def _unchanged(self) -> Iterator[None]:
        try:
            if stamp(self.path) != self.stamp:
                raise UserError(f'{self.path} was written anew; run the same command again')
            yield
        except OSError as error:
            raise UserError(f'{self.path} cannot be read: {error.strerror}') from error


class Member(NamedTuple):
    """An .npy that a zip archive stores plainly: `size` bytes from `start` on."""

    name: str
    start: int
    size: int
    crc: int  # CRC-32 of these bytes


@dataclasses.dataclass(frozen=True, slots=True)
class Chunk:
    """Tokens of a file; a slice reads them, and the first one checks them all."""

    file: TokenFile
    member: Member
    offset: int  # of the first, in bytes
    length: int
    dtype: np.dtype

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, window: slice) -> np.ndarray:
        self.file.check(self.member)
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
        with open(path, 'rb') as file:  # is_zipfile does not say that it may not be read
            if not zipfile.is_zipfile(file):
                raise ValueError('it is no zip archive')
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            starts = _find_starts(archive, members)
            bar = tqdm(members, f'Opening {path}', delay=1, leave=False, disable=None)
            if any(member.compress_type != zipfile.ZIP_STORED for member in members):
                parts = (_inflate(archive, member, path, last) for member in bar)
                return spool(parts, np.min_scalar_type(last))
            file = TokenFile(path, last, stamp(path))
            chunks = [_locate(archive, member, starts, file) for member in bar]
    except UserError:
        raise
    except BROKEN as error:
        reason = ' '.join(str(error).split()) or 'it is cut short'
        way = what_mends(error, mend(path))
        raise UserError(f'{path} holds no token chunks: {reason}; {way}') from error
    _check_first(chunks)
    return [chunk for chunk in chunks if len(chunk)]


def _check_first(chunks: list[Chunk]) -> None:
    left = CHECKED_BYTES
    for chunk in chunks:
        itemsize = chunk.dtype.itemsize
        if len(chunk) * itemsize > left:  # its sum would read all of it
            chunk.file.read(chunk.offset, left // itemsize, chunk.dtype)
            return
        left -= chunk[:].nbytes


def _find_starts(archive: zipfile.ZipFile, members: list[zipfile.ZipInfo]) -> dict[int, int]:
    """Where members' contents start, by where their headers do.

    Raises ValueError unless the members lie without a gap from the archive's start to its
    directory: a changed length or place there would hide one.
    """
    starts, end, gaps = {}, 0, (0,)
    for info in sorted(members, key=lambda info: info.header_offset):
        if info.header_offset - end not in gaps:
            break
        archive.fp.seek(info.header_offset + 26)  # of its own header, which its name and more end
        start = info.header_offset + 30 + sum(struct.unpack('<HH', archive.fp.read(4)))
        starts[info.header_offset], end = start, start + info.compress_size
        gaps = (0, *DESCRIPTORS) if info.flag_bits & 8 else (0,)
    if len(starts) < len(members) or archive.start_dir - end not in gaps:
        raise ValueError('it has more or less than its directory says')
    return starts


def _header(member, info: zipfile.ZipInfo) -> tuple[int, np.dtype]:
    """How many tokens an .npy holds, and of which type; reads up to the first."""
    name = repr(info.filename.removesuffix('.npy'))[1:-1]
    start = member.read(8)
    if start[:6] != np.lib.format.MAGIC_PREFIX:
        raise ValueError(f'{name} does not have the magic string of .npy')
    if (version := tuple(start[6:])) not in LENGTHS:
        raise ValueError(f'{name} is of the version {version}')
    form = LENGTHS[version]
    [length] = struct.unpack(form, member.read(struct.calcsize(form)))
    found = HEADER.fullmatch(member.read(min(length, LONGEST_HEADER)).decode('latin-1'))
    if not found or length > LONGEST_HEADER:
        raise ValueError(f'{name} has a header that cannot be read')
    try:
        dtype = np.dtype(found[1])
    except TypeError as error:
        raise ValueError(f'{name} is of an unknown type') from error
    if dtype.kind not in 'iu' or not (shape := re.fullmatch(r'\((\d+)L?,\)', found[2])):
        raise ValueError(f'{name} is {dtype} of shape {found[2]}')
    if info.file_size != member.tell() + int(shape[1]) * dtype.itemsize:
        raise ValueError(f'{name} is cut short')
    return int(shape[1]), dtype


def _locate(
    archive: zipfile.ZipFile, info: zipfile.ZipInfo, starts: dict[int, int], file: TokenFile
) -> Chunk:
    """A member that is stored plainly."""
    with archive.open(info) as content:
        length, dtype = _header(content, info)
        offset = content.tell()
    if info.compress_size != info.file_size:
        raise ValueError('it says two lengths of one member')
    member = Member(repr(info.filename)[1:-1], starts[info.header_offset], info.file_size, info.CRC)
    return Chunk(file, member, member.start + offset, length, dtype)


def _inflate(
    archive: zipfile.ZipFile, info: zipfile.ZipInfo, path: Path, last: int
) -> Iterator[np.ndarray]:
    """The tokens of a compressed member, in parts; the end of it checks its checksum."""
    with archive.open(info) as member:
        _, dtype = _header(member, info)
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
