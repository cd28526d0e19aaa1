"""What XLA compiled is kept for the next start, and never in its way."""

import os
import socket
import stat
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from gpt2 import compilations

CODE = b'code'
WHOLE = f'code.pb.{compilations._checksum(CODE)}'


@pytest.fixture
def keep(tmp_path, monkeypatch):
    """Calls compilations.keep as a start would; what TensorFlow is to load, None for no folder."""
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    monkeypatch.setattr(compilations, 'loaded', [])
    ends = []
    at_exit = SimpleNamespace(register=lambda _, work, kept: ends.append(work))
    monkeypatch.setattr(compilations, 'atexit', at_exit)

    def keep():
        if compilations.keep('') is None:
            return None
        return {path.name for path in compilations.loaded[0].glob('*.pb')}

    yield keep
    for work in ends:
        work.cleanup()


@pytest.fixture
def kept(keep):
    """The folder that is kept, with one file in it."""
    assert keep() == set()
    folder = compilations.loaded[1]
    assert [stat.S_IMODE(path.stat().st_mode) for path in (folder.parent, folder)] == [0o700] * 2
    write(folder / WHOLE)
    return folder


def write(path, mode=0o600):
    path.write_bytes(CODE)
    path.chmod(mode)


@pytest.fixture
def sample(process, tmp_path):
    """Runs a sampler with this cache folder; its output."""

    def sample(cache='cache', **environment):
        done = process(
            'generate_unconditional_samples.py',
            *('--model_name', 'demo', '--nsamples', '1', '--length', '5', '--seed', '1'),
            env=os.environ | {'XDG_CACHE_HOME': str(tmp_path / cache)} | environment,
        )
        assert (done.returncode, done.stderr) == (0, '')
        return done.stdout

    return sample


def times(folder):
    return {path: path.stat().st_mtime_ns for path in folder.glob('gpt-2/*/*')}


def test_kept_and_loaded_but_not_where_damaged(sample, tmp_path):
    cache = tmp_path / 'cache'
    (tmp_path / 'a place').mkdir()
    out = sample(TMPDIR=str(tmp_path / 'a place'))
    kept = times(cache)
    assert kept
    assert sample() == out
    assert times(cache) == kept
    for number, file in enumerate(kept):
        file.write_bytes(file.read_bytes()[:1000] if number % 2 else b'')
    assert sample() == out
    assert {file.stem for file in times(cache)} == {file.stem for file in kept}
    assert all(file.stat().st_size > 1000 for file in times(cache))
    assert {path.name for path in tmp_path.iterdir()} == {'cache', 'a place'}
    assert not os.listdir(tmp_path / 'a place')


def test_without_a_folder_for_it(sample, tmp_path):
    (tmp_path / 'file').touch()
    out = sample('file')
    assert out == sample('none', XLA_FLAGS='--xla_cpu_prefer_vector_width=256')
    assert not (tmp_path / 'none' / 'gpt-2').exists()


@pytest.mark.parametrize('mode', [0o720, 0o702, 0o777, None])
@pytest.mark.parametrize('which', ['kept', 'its parent'])
def test_not_where_others_could_have_written(keep, kept, tmp_path, which, mode):
    assert keep() == {'code.pb'}
    folder = kept if which == 'kept' else kept.parent
    if mode:
        folder.chmod(mode)
    else:
        folder.rename(tmp_path / 'elsewhere')
        folder.symlink_to(tmp_path / 'elsewhere')
    assert keep() is None


def test_not_in_the_folder_of_another_user(keep, kept, monkeypatch):
    uid = os.geteuid()
    monkeypatch.setattr(os, 'geteuid', lambda: uid + 1)
    assert keep() is None


def test_nothing_but_files_of_ones_own_is_read(keep, kept, tmp_path):
    os.mkfifo(kept / 'fifo.pb.00000000')
    (kept / 'folder.pb.00000000').mkdir()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / 'socket'))
    (tmp_path / 'socket').rename(kept / 'socket.pb.00000000')
    write(tmp_path / 'of another')
    (kept / WHOLE.replace('code', 'link')).symlink_to(tmp_path / 'of another')
    write(kept / WHOLE.replace('code', 'shared'), 0o620)
    unread = {path.name for path in kept.iterdir()} - {WHOLE}
    write(kept / '123.part')  # of a process killed as it wrote it
    write(kept / 'damaged.pb.00000000')
    assert keep() == {'code.pb'}
    assert {path.name for path in kept.iterdir()} == {WHOLE, *unread}


def test_what_is_new_is_kept_for_its_user_alone(keep, kept, monkeypatch):
    monkeypatch.setattr(compilations, 'MOST', 1)
    os.utime(kept / WHOLE, (0, 0))
    (kept / 'folder').mkdir()
    work = tempfile.TemporaryDirectory(dir=kept.parent)
    Path(work.name, 'new.pb').write_bytes(CODE)
    before = os.umask(0)
    try:
        compilations._publish(work, kept)
    finally:
        os.umask(before)
    new = WHOLE.replace('code', 'new')
    assert {path.name for path in kept.iterdir()} == {new, 'folder'}
    assert stat.S_IMODE((kept / new).stat().st_mode) == 0o600
    assert keep() == {'new.pb'}


def test_what_a_killed_process_left_is_removed(keep):
    """And what belongs to one that runs stays."""
    start = (
        'from gpt2 import compilations; compilations.keep("")\n'
        'print(compilations.loaded[0], flush=True); input()'
    )
    pipes = {'stdin': subprocess.PIPE, 'stdout': subprocess.PIPE}
    with subprocess.Popen([sys.executable, '-c', start], text=True, **pipes) as process:
        left = Path(process.stdout.readline().strip())
        assert keep() == set() and left.is_dir()
        process.kill()
        process.wait()
        assert left.is_dir() and keep() == set() and not left.exists()


def test_nothing_is_removed_where_locks_do_not_hold(keep, kept, monkeypatch):
    left = kept.parent / f'{compilations.PREFIX}left'
    left.mkdir()
    (left / compilations.LOCK).touch()
    with monkeypatch.context() as patch:
        patch.setattr('gpt2.files.fcntl', None)
        assert keep() == {'code.pb'} and left.is_dir()
    assert keep() == {'code.pb'} and not left.exists()
