"""OpenAI's models from a server on loopback: their names, their folders, their sums."""

import hashlib
import os
from pathlib import Path

import pytest

from gpt2 import files, releases
from gpt2.errors import UserError
from server import BIG, CONTENT, DATA, download, is_right, serve, take_naps  # noqa: F401  fixtures


def test_fetches_every_file_and_says_what_to_try(server, naps, capsys, monkeypatch):
    synced = []
    monkeypatch.setattr(files.os, 'fsync', synced.append)
    download(server)
    assert len(synced) == 7
    assert is_right('models/774M')
    assert naps == []
    out = capsys.readouterr().out
    assert 'models/774M: 7 files, 7 fetched' in out
    assert out.endswith('Try: python interactive_conditional_samples.py --model_name 774M\n')
    assert 'Content-MD5' not in out


def test_says_nothing_on_stdout_of_its_own_accord(server, capsys):
    releases.download(['774M'], base_url=server.url)
    out, err = capsys.readouterr()
    assert out == '' and 'models/774M: 7 files, 7 fetched' in err


def test_second_run_gets_nothing_and_a_broken_file_is_repaired(server, capsys):
    download(server)
    server.asked.clear()
    download(server)
    assert server.gets() == []
    Path('models/774M/vocab.bpe').write_bytes(b'This is vocab.bpe')  # of the same length
    Path('models/774M', DATA).write_bytes(BIG[:-1])
    download(server)
    assert [path for _, path, _ in server.gets()] == [f'/774M/{DATA}', '/774M/vocab.bpe']
    assert is_right('models/774M')
    assert 'models/774M: 7 files, 2 fetched' in capsys.readouterr().out


def test_asks_under_the_new_name_and_keeps_the_typed_one(server, capsys):
    download(server, '762M', models_dir='my models')
    assert is_right('my models/762M')
    assert {path.split('/')[1] for _, path, _ in server.asked} == {'774M'}
    assert capsys.readouterr().out.endswith("--model_name 762M --models_dir 'my models'\n")
    server.asked.clear()
    for names in (['774M'], ['774M', '762M']):  # one model, and it is there
        download(server, *names, models_dir='my models')
    assert server.gets() == []
    assert os.listdir('my models') == ['762M']


def test_several_models_at_once(server, capsys):
    server.files |= {f'/1558M/{name}': content[::-1] for name, content in CONTENT.items()}
    download(server, '774M', '1542M')
    assert is_right('models/774M')
    assert is_right('models/1542M', {name: content[::-1] for name, content in CONTENT.items()})
    assert 'models/1542M: 7 files, 7 fetched' in capsys.readouterr().out


def test_models_dir_beside_the_script_where_only_that_exists(server, tmp_path):
    (tmp_path / 'repository/models').mkdir(parents=True)
    (tmp_path / 'elsewhere').mkdir()
    os.chdir('elsewhere')
    download(server, beside=tmp_path / 'repository/download_model.py')
    assert is_right(tmp_path / 'repository/models/774M')
    assert os.listdir() == []
    os.mkdir('models')
    download(server, beside=tmp_path / 'repository/download_model.py')
    assert is_right('models/774M')


def test_a_server_that_knows_another_length_is_refused(server, monkeypatch):
    monkeypatch.setitem(releases.KNOWN, '774M', {DATA: (len(BIG) + 1, None)})
    with pytest.raises(UserError, match=f'has {len(BIG)} bytes, where {len(BIG) + 1} is expected'):
        download(server)


def test_known_hashes_need_no_server_on_a_second_run(server, monkeypatch):
    known = {
        name: (len(content), hashlib.sha256(content).hexdigest())
        for name, content in CONTENT.items()
    }
    monkeypatch.setitem(releases.KNOWN, '774M', known)
    server.md5 = False
    server.quirks = ['wrong byte']
    download(server)
    assert {method for method, _, _ in server.asked} == {'GET'}
    assert len(server.gets(DATA)) == 2
    assert is_right('models/774M')
    releases.download(['774M'], base_url='http://127.0.0.1:9')  # nobody listens there


def test_says_so_where_only_the_length_could_be_checked(server, capsys):
    server.md5 = False
    download(server)
    assert is_right('models/774M')
    assert '7 files could be checked by size only' in capsys.readouterr().out
    Path('models/774M', DATA).write_bytes(BIG[:-1])
    download(server)
    assert is_right('models/774M')


def test_the_hashes_of_the_vocabulary(vocab_dir):
    for name, (size, sha256) in releases.KNOWN_EVERYWHERE.items():
        content = (vocab_dir / name).read_bytes()
        assert (len(content), hashlib.sha256(content).hexdigest()) == (size, sha256)


@pytest.mark.parametrize('names', [[], ['354M'], ['774M', '345m']])
def test_names_are_checked_before_anything_else(server, names):
    with pytest.raises(UserError, match=f'{names[-1] if names else "no model"}.*345M/355M.*run:'):
        releases.download(names, base_url=server.url)
    assert server.asked == []
    assert os.listdir() == []


def test_a_place_that_is_none(server):
    Path('models').write_bytes(b'')
    with pytest.raises(UserError, match='^models/774M: Not a directory; .*run: python'):
        download(server)
