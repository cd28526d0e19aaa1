"""Token chunks in files: written whole, read where they stand, checked."""

import errno
import io
import struct
import subprocess
import sys
import zipfile
from zlib import crc32

import numpy as np
import pytest

from gpt2.data import token_file
from gpt2.data.token_file import read_npz, write_npz
from gpt2.errors import UserError


def test_writes_what_numpy_reads(tmp_path):
    chunks = [np.arange(7, dtype=np.uint16), np.array([511], np.uint16)]
    assert write_npz(tmp_path / 'out.npz', iter(chunks)) == (2, 8)
    with np.load(tmp_path / 'out.npz') as npz:
        assert [npz[name].tolist() for name in npz.files] == [chunk.tolist() for chunk in chunks]
        assert npz.files == ['arr_0', 'arr_1'] and npz['arr_0'].dtype == np.uint16
    assert [chunk[:].tolist() for chunk in read_npz(tmp_path / 'out.npz', 511)] == [
        chunk.tolist() for chunk in chunks
    ]


def test_a_full_disk(tmp_path):
    def ids():
        yield np.arange(10)
        raise OSError(28, 'No space left on device')

    with pytest.raises(UserError, match=r'out\.npz cannot be written: No space left on device'):
        write_npz(tmp_path / 'out.npz', ids())
    assert not list(tmp_path.glob('out*'))


@pytest.mark.parametrize('save', [np.savez, np.savez_compressed])
@pytest.mark.parametrize('dtype', [np.int64, np.int32, np.uint16])
def test_npz(tmp_path, save, dtype):
    first, second = np.arange(0, 512, 5).astype(dtype), np.array([511, 0], dtype)
    save(tmp_path / 'a.npz', first, np.array([], dtype), second)
    chunks = read_npz(tmp_path / 'a.npz', 511)
    assert [chunk[:].tolist() for chunk in chunks] == [first.tolist(), second.tolist()]
    assert [chunk[3:7].tolist() for chunk in chunks] == [first[3:7].tolist(), []]


@pytest.mark.parametrize('bad', [512, 50256, -1])
def test_ids_of_another_model(tmp_path, bad):
    np.savez(tmp_path / 'a.npz', np.array([1, 2]), np.array([5, bad, 6]))
    with pytest.raises(UserError, match=f'a.npz holds the id {bad}, and the model has 0 to 511;'):
        read_npz(tmp_path / 'a.npz', 511)


@pytest.mark.parametrize('bad', [512, -1])
def test_ids_of_another_model_where_they_are_read(tmp_path, monkeypatch, bad):
    monkeypatch.setattr(token_file, 'CHECKED_BYTES', 16)
    np.savez(tmp_path / 'a.npz', np.array([1, 2]), np.array([5, bad, 6]))
    chunks = read_npz(tmp_path / 'a.npz', 511)
    assert chunks[1][:1].tolist() == [5]
    with pytest.raises(UserError, match=f'a.npz holds the id {bad}, and the model has 0 to 511;'):
        chunks[1][1:]


def test_an_npz_written_anew_while_it_is_read(tmp_path):
    np.savez(tmp_path / 'a.npz', np.array([1, 2]))
    [chunk] = read_npz(tmp_path / 'a.npz', 511)
    np.savez(tmp_path / 'a.npz', np.array([1, 2, 3]))
    with pytest.raises(UserError, match='a.npz was written anew; run the same command again'):
        chunk[:]


def test_each_chunk_is_checked_when_it_is_first_read(tmp_path, monkeypatch):
    monkeypatch.setattr(token_file, 'CHECKED_BYTES', 100)
    path, summed = tmp_path / 'a.npz', []
    np.savez(path, np.arange(40), np.arange(4000) % 512)  # zipfile checks what fits in 4096 bytes
    content = bytearray(path.read_bytes())
    content[content.index(np.array([351, 352]).tobytes(), 4500)] ^= 1  # another of the model's ids
    path.write_bytes(content)
    monkeypatch.setattr(token_file.zlib, 'crc32', lambda *args: summed.append(1) or crc32(*args))
    sound, damaged = read_npz(path, 511)
    summed.clear()
    for _ in range(3):
        assert sound[3:5].tolist() == [3, 4]
    assert len(summed) == 1
    for _ in range(2):
        with pytest.raises(UserError, match='arr_1.npy does not have its checksum; run: python en'):
            damaged[:2]


def member(name, content):
    return name, b'\x93NUMPY\1\0' + struct.pack('<H', len(content)) + content


@pytest.mark.parametrize(
    'header, sentence',
    [
        (b'(' * 9000, 'arr_0 has a header that cannot be read'),
        (b"{'descr': '<u3', 'fortran_order': False, 'shape': (2,), }", 'of an unknown type'),
        (b"{'descr': '<u2', 'fortran_order': False, 'shape': (-2,), }", 'a header that cannot'),
        (b"{'descr': '<u2', 'fortran_order': False, 'shape': (9,), }", 'arr_0 is cut short'),
    ],
)
def test_headers_that_lie(tmp_path, header, sentence):
    with zipfile.ZipFile(tmp_path / 'a.npz', 'w') as archive:
        archive.writestr(*member('arr_0.npy', header))
    with pytest.raises(UserError, match=f'holds no token chunks: .*{sentence}'):
        read_npz(tmp_path / 'a.npz', 511)


@pytest.mark.parametrize(
    'offset, byte, sentence',
    [
        (8, 1, 'encrypted'),
        (10, 99, 'compression method'),
        (32, 55, 'it has more or less than its directory says'),  # a comment hides the next entry
    ],
)
def test_a_directory_that_lies(tmp_path, offset, byte, sentence):
    path = tmp_path / 'a.npz'
    np.savez(path, *[np.arange(9)] * 3)
    content = bytearray(path.read_bytes())
    content[content.index(b'PK\1\2') + offset] = byte
    path.write_bytes(content)
    with pytest.raises(UserError, match=f'holds no token chunks: .*{sentence}.*; run: python enc'):
        read_npz(path, 511)


LIMITED = r"""
import re, resource, sys
import numpy as np
from gpt2.data.load_dataset import Sampler, batches
from gpt2.data.token_file import read_npz

used = int(re.search('VmData:\s+(\d+)', open('/proc/self/status').read())[1]) * 1024
resource.setrlimit(resource.RLIMIT_DATA, (used + 2**25,) * 2)  # 32 MiB more
drawn = batches(Sampler(read_npz(sys.argv[1], 511)), 512, 1, 0, [1, 8], 1024)
print(np.mean([next(drawn)[1].mean() for _ in range(500)]))
"""


@pytest.mark.skipif(sys.platform != 'linux', reason='asks Linux for the memory in use')
@pytest.mark.parametrize('save', [np.savez, np.savez_compressed])
def test_a_dataset_larger_than_memory(tmp_path, save):
    """100 MB of tokens, in two chunks, in a process that may have 32 MiB more than numpy."""
    half = np.tile(np.arange(512, dtype=np.uint16), 50_000)
    save(tmp_path / 'a.npz', half, half)
    args = [sys.executable, '-c', LIMITED, tmp_path / 'a.npz']
    done = subprocess.run(args, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert abs(float(done.stdout) - 255.5) < 1e-6  # each window of 1024 holds each id twice


def test_no_room_to_unpack(tmp_path, monkeypatch):
    class Full(io.BytesIO):
        def write(self, content):
            raise OSError(errno.ENOSPC, 'No space left on device')

    monkeypatch.setattr(token_file.tempfile, 'TemporaryFile', Full)
    np.savez_compressed(tmp_path / 'a.npz', np.array([1, 2]))
    with pytest.raises(UserError, match='has no room for the tokens; set TMPDIR to a folder'):
        read_npz(tmp_path / 'a.npz', 511)


def test_an_npz_that_may_not_be_read(tmp_path, monkeypatch):
    def refuse(*_):
        raise PermissionError(errno.EACCES, 'Permission denied')

    np.savez(tmp_path / 'a.npz', np.array([1, 2]))
    monkeypatch.setattr(token_file, 'open', refuse, raising=False)
    with pytest.raises(UserError, match='Permission denied; choose another place or change its p'):
        read_npz(tmp_path / 'a.npz', 511)


def broken_npz():
    yield lambda path: path.write_bytes(b'no zip'), 'it is no zip archive'
    yield lambda path: path.write_bytes(path.read_bytes()[:-30]), 'it is no zip archive'
    yield lambda path: np.savez(path, np.ones(3)), r'arr_0 is float64 of shape \(3,\)'
    yield lambda path: np.savez(path, np.ones((2, 2), int)), r'arr_0 is int64 of shape \(2, 2\)'
    yield lambda path: zipfile.ZipFile(path, 'w').writestr('a.npy', b'no array'), 'magic string'
    yield lambda path: np.savez(path, np.array([[1], 'a'], object)), 'arr_0 is object'

    def flip(path):
        np.savez_compressed(path, np.arange(500))
        content = bytearray(path.read_bytes())
        content[300] ^= 1
        path.write_bytes(content)

    yield flip, '(Bad CRC-32|decompressing)'


@pytest.mark.parametrize('break_it, sentence', [*broken_npz()])
def test_broken_npz(tmp_path, break_it, sentence):
    path = tmp_path / 'a.npz'
    np.savez(path, np.arange(500))
    break_it(path)
    with pytest.raises(UserError, match=f'holds no token chunks: .*{sentence}.*; run: python enc'):
        read_npz(path, 511)
