"""make_vocabulary.py: what it writes, whole or not at all."""

import importlib.util
import resource
import shlex
import signal

import pytest

from conftest import ROOT
from gpt2.encoder import get_encoder
from gpt2.errors import UserError

pytest.importorskip('tokenizers')


@pytest.fixture
def make_vocabulary(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'text.txt').write_text('to be or not to be, that is the question ' * 50)
    spec = importlib.util.spec_from_file_location('script', ROOT / 'make_vocabulary.py')
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    return script.make_vocabulary


def test_a_vocabulary_of_ones_own(make_vocabulary, capsys):
    make_vocabulary('text.txt', 'own', n_vocab=270)
    assert capsys.readouterr().out == (
        'models/own: 270 tokens\nTry: python encode.py text.txt text.npz --model_name own\n'
    )
    enc = get_encoder('own', 'models')
    assert enc.decode(enc.encode('to be naïve\n')) == 'to be naïve\n'
    assert len(enc.decoder) == 270 and len(enc.encode('to be')) < 5
    with pytest.raises(UserError, match='models/own has a vocabulary; name another folder'):
        make_vocabulary('text.txt', 'own')


def test_the_command_to_go_on_with_runs(make_vocabulary, run, tmp_path, capsys):
    (tmp_path / 'text.txt').rename(tmp_path / 'a text.txt')
    make_vocabulary('a text.txt', 'own', n_vocab=270, models_dir='other models')
    command = capsys.readouterr().out.partition('Try: python ')[2]
    done = run(*shlex.split(command))
    assert (done.returncode, done.stderr) == (0, '') and (tmp_path / 'a text.npz').exists()


def test_a_full_disk_leaves_no_half_of_one(make_vocabulary, tmp_path):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, limits[1]))
        with pytest.raises(UserError, match='encoder.json cannot be written: File too large; free'):
            make_vocabulary('text.txt', 'own', n_vocab=270)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert not list((tmp_path / 'models' / 'own').iterdir())
    make_vocabulary('text.txt', 'own', n_vocab=270)


def test_a_place_that_is_none(make_vocabulary, tmp_path):
    (tmp_path / 'models').write_text('no folder')
    with pytest.raises(UserError, match='models/own cannot be written: Not a directory; choose'):
        make_vocabulary('text.txt', 'own')


@pytest.mark.parametrize('name', ['..', '../own', 'a/../../own', '/own', '', '.'])
def test_a_name_that_leaves_the_models_folder(make_vocabulary, tmp_path, name):
    with pytest.raises(UserError, match='--model_name is the name of a folder, not'):
        make_vocabulary('text.txt', name)
    assert [path.name for path in tmp_path.iterdir()] == ['text.txt']
