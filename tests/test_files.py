"""Files written whole or not at all, also by a disk that fills up or a process that is killed."""

import errno
import os
import resource
import signal
import subprocess
import sys

import pytest

from gpt2 import files
from gpt2.errors import UserError

LOCK = 'import sys; from gpt2 import files; files.lock(sys.argv[1], "it is held"); print("locked")'


@pytest.fixture
def small_disk():
    """The largest file a process may write stands in for a full disk."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.parametrize(
    'content, written', [('naïve\n', b'na\xc3\xafve\n'), (b'\0\r\n', b'\0\r\n')]
)
def test_writes_text_and_bytes(tmp_path, content, written):
    path = tmp_path / 'a.txt'
    path.write_text('what was there, and longer')
    files.write(path, content)
    assert path.read_bytes() == written
    files.write(str(tmp_path / 'b'), content)
    assert sorted(os.listdir(tmp_path)) == ['a.txt', 'b']


def test_the_disk_has_it_before_it_has_its_name(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(files.os, 'fsync', lambda number: seen.append(os.listdir(tmp_path)))
    files.write(tmp_path / 'a', 'content')
    assert seen == [['a.part']]


def test_a_full_disk_leaves_what_was_there(tmp_path, small_disk):
    path = tmp_path / 'a'
    path.write_text('what was there')
    with pytest.raises(UserError) as caught:
        files.write(path, bytes(200_000))
    assert str(caught.value) == f'{path} cannot be written: File too large; free some space there'
    assert path.read_text() == 'what was there'
    assert os.listdir(tmp_path) == ['a']


@pytest.mark.parametrize('error', [KeyboardInterrupt, ValueError])
def test_what_goes_wrong_on_the_way_leaves_what_was_there(tmp_path, error):
    path = tmp_path / 'a'
    path.write_text('what was there')
    with pytest.raises(error), files.writing(path) as file:
        file.write(b'half')
        raise error
    assert path.read_text() == 'what was there'
    assert os.listdir(tmp_path) == ['a']


@pytest.mark.parametrize(
    'number, what_mends',
    [
        (errno.ENOSPC, 'free some space there'),
        (errno.EDQUOT, 'free some space there'),
        (errno.EFBIG, 'free some space there'),
        (errno.EACCES, 'choose another place or change its permissions'),
        (errno.EROFS, 'choose another place or change its permissions'),
    ],
)
def test_what_mends_it(number, what_mends):
    with pytest.raises(UserError) as caught, files.explained('a/b'):
        raise OSError(number, os.strerror(number))
    assert str(caught.value) == f'a/b cannot be written: {os.strerror(number)}; {what_mends}'


def test_a_place_that_is_none(tmp_path):
    with pytest.raises(UserError, match='gone/a cannot be written: No such file or directory; cho'):
        files.write(tmp_path / 'gone' / 'a', '')
    (tmp_path / 'file').write_text('')
    for path in (tmp_path / 'file' / 'a', tmp_path):
        with pytest.raises(UserError, match='cannot be written: .* directory; choose another'):
            files.write(path, '')
    with pytest.raises(UserError, match='a cannot be written: .* directory; choose another'):
        with files.writing_prefix(tmp_path / 'file' / 'a'):
            pass
    with pytest.raises(UserError, match='a cannot be written: .* directory; choose another'):
        files.lock(tmp_path / 'file' / 'a', 'it is held')


def test_files_of_one_prefix_come_in_order(tmp_path, monkeypatch):
    left = tmp_path / 'new' / '.model-1.part'
    left.mkdir(parents=True)
    (left / 'model-1.junk').write_text('what a killed process has left')
    placed = []
    monkeypatch.setattr(files, 'put_in_place', lambda aside, path: placed.append(path.name))
    with files.writing_prefix(tmp_path / 'new' / 'model-1') as aside:
        for name in ('index', 'data-00000-of-00001'):
            aside.with_name(f'{aside.name}.{name}').write_text(name)
        assert not placed
    assert placed == ['model-1.data-00000-of-00001', 'model-1.index']
    assert not left.exists()


def test_files_of_one_prefix_all_or_none(tmp_path):
    (tmp_path / 'model-1.index').write_text('what was there')
    with pytest.raises(KeyboardInterrupt), files.writing_prefix(tmp_path / 'model-1') as aside:
        aside.with_name(f'{aside.name}.index').write_text('half')
        raise KeyboardInterrupt
    assert os.listdir(tmp_path) == ['model-1.index']
    assert (tmp_path / 'model-1.index').read_text() == 'what was there'


def other_process(path):
    done = subprocess.run([sys.executable, '-c', LOCK, path], capture_output=True, text=True)
    return done.stdout or done.stderr.splitlines()[-1]


def test_a_lock_keeps_other_processes_out_until_it_is_left(tmp_path):
    path = tmp_path / 'a.lock'
    path.write_text('what is in it stays')
    with files.lock(path, 'it is held'):
        assert other_process(path) == 'gpt2.errors.UserError: it is held'
        with pytest.raises(UserError, match='^it is held$'):
            files.lock(path, 'it is held')
    assert other_process(path) == 'locked\n'
    assert path.read_text() == 'what is in it stays'


def test_a_lock_is_held_until_the_process_ends(tmp_path):
    files.lock(tmp_path / 'a.lock', 'it is held')  # and nothing refers to what it gave
    assert other_process(tmp_path / 'a.lock') == 'gpt2.errors.UserError: it is held'


def test_a_disk_without_locks(tmp_path, monkeypatch):
    def refuse(file, how):
        raise OSError(errno.ENOLCK, 'No locks available')

    monkeypatch.setattr(files.fcntl, 'flock', refuse)
    with files.lock(tmp_path / 'a.lock', 'it is held') as held:
        assert not held.closed


def test_windows_holds_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(files, 'fcntl', None)
    with files.lock(tmp_path / 'a.lock', 'it is held') as held:
        assert held is None
