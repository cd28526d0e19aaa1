"""A hub's repositories, by the real huggingface_hub, from a server here that speaks its API."""

import hashlib
import http.server
import json
import os
import threading

import pytest
from huggingface_hub import constants

import gpt2
from conftest import ROOT
from gpt2.errors import UserError
from gpt2.formats.hub import fetch
from gpt2.formats.huggingface import to_huggingface

REPO, SHA, TOKEN = 'someone/tiny-gpt2', 'a' * 40, 'hf_secret'


class Hub(http.server.ThreadingHTTPServer):
    """Serves `files` as one repository; `quirks` change its manners, `asked` remembers."""

    def __init__(self, files):
        super().__init__(('127.0.0.1', 0), Handler)
        self.files, self.quirks, self.asked = files, set(), []
        self.url = f'http://127.0.0.1:{self.server_port}'

    def facts(self, name):
        content = self.files[name]
        if not name.endswith('.safetensors'):
            blob = hashlib.sha1(b'blob %d\0' % len(content) + content).hexdigest()
            return {'size': len(content), 'blob': blob, 'etag': blob, 'lfs': {}}
        digest = hashlib.sha256(content).hexdigest()
        lfs = {'size': len(content), 'sha256': digest, 'oid': digest, 'pointerSize': 134}
        return {'size': len(content), 'blob': 'b' * 40, 'etag': digest, 'lfs': {'lfs': lfs}}


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'

    def do_GET(self):
        hub, path = self.server, self.path.partition('?')[0]
        hub.asked.append((self.command, path, self.headers['Range'], self.headers['Authorization']))
        if 'gated' in hub.quirks:
            return self.answer(403, {'error': 'no'}, {'X-Error-Code': 'GatedRepo'})
        if 'private' in hub.quirks and self.headers['Authorization'] != f'Bearer {TOKEN}':
            return self.answer(401, {'error': 'Invalid username or password.'})
        if 'broken' in hub.quirks:
            return self.answer(500, {'error': 'Internal'})
        if REPO not in path:
            return self.answer(404, {'error': 'no'}, {'X-Error-Code': 'RepoNotFound'})
        if 'old' in path:
            return self.answer(404, {'error': 'no'}, {'X-Error-Code': 'RevisionNotFound'})
        if path.startswith(f'/api/models/{REPO}/tree/'):
            return self.answer(200, [self.in_tree(name) for name in hub.files])
        if path.startswith('/api/models/'):
            siblings = [self.as_sibling(name) for name in hub.files]
            card = {'license': 'cc-by-nc-sa-4.0'}
            return self.answer(
                200, {'id': REPO, 'sha': SHA, 'siblings': siblings, 'cardData': card}
            )
        return self.send_file(path.rpartition('/')[2])

    do_HEAD = do_GET

    def in_tree(self, name):
        facts = self.server.facts(name)
        return {'type': 'file', 'path': name, 'size': facts['size'], 'oid': facts['blob']} | facts[
            'lfs'
        ]

    def as_sibling(self, name):
        facts = self.server.facts(name)
        return {'rfilename': name, 'size': facts['size'], 'blobId': facts['blob']} | facts['lfs']

    def send_file(self, name):
        hub = self.server
        facts, content = hub.facts(name), hub.files[name]
        start = int((self.headers['Range'] or 'bytes=0-')[len('bytes=') : -1])
        headers = {'ETag': f'"{facts["etag"]}"', 'X-Repo-Commit': SHA, 'Accept-Ranges': 'bytes'}
        if start:
            headers['Content-Range'] = f'bytes {start}-{len(content) - 1}/{len(content)}'
        if 'wrong byte' in hub.quirks and name.endswith('.safetensors'):
            content = content[:-1] + bytes([content[-1] ^ 1])
        if 'wrong config' in hub.quirks and name == 'config.json':
            content = content.replace(b'{', b'[', 1)
        content = content[start:]
        cut = 'cut' in hub.quirks and self.command == 'GET' and name.endswith('.safetensors')
        if cut:
            hub.quirks.discard('cut')
        self.answer(206 if start else 200, content, headers, cut)

    def answer(self, status, body, headers=(), cut=False):
        body = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in {**dict(headers), 'Content-Length': str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == 'GET':
            self.wfile.write(body[: len(body) // 2] if cut else body)
        self.close_connection = cut

    def log_message(self, *args):
        pass


@pytest.fixture(scope='module')
def files(tmp_path_factory):
    """The demo model as Hugging Face has it, and what is not needed of such a repository."""
    folder = tmp_path_factory.mktemp('hub') / 'hf'
    to_huggingface(gpt2.find('demo'), folder)
    found = {path.name: path.read_bytes() for path in folder.iterdir()}
    return found | {'pytorch_model.bin': b'pickle', 'flax_model.msgpack': b'other'}


@pytest.fixture
def hub(files, monkeypatch, tmp_path):
    monkeypatch.setenv('NO_PROXY', '127.0.0.1')
    monkeypatch.delenv('HF_TOKEN', raising=False)
    with Hub(dict(files)) as hub:
        threading.Thread(target=hub.serve_forever, args=(0.01,)).start()
        for name, value in {
            'ENDPOINT': hub.url,
            'HUGGINGFACE_CO_URL_TEMPLATE': hub.url + '/{repo_id}/resolve/{revision}/{filename}',
            'HF_HUB_CACHE': str(tmp_path / 'cache'),
            'HF_TOKEN_PATH': str(tmp_path / 'token'),
            'HF_STORED_TOKENS_PATH': str(tmp_path / 'tokens'),
        }.items():
            monkeypatch.setattr(constants, name, value)
        monkeypatch.setattr('time.sleep', lambda seconds: None)
        yield hub
        hub.shutdown()


def test_in_a_process_of_its_own(process, hub, tmp_path, monkeypatch):
    """Mirror, token and cache come from the environment, as the library has them."""
    hub.quirks.add('private')
    for name, value in {'ENDPOINT': hub.url, 'HOME': tmp_path / 'home', 'TOKEN': TOKEN}.items():
        monkeypatch.setenv(f'HF_{name}', str(value))
    done = process('download_model.py', '--hub', REPO, '--models_dir', 'own')
    assert (done.returncode, done.stderr) == (0, '')
    assert done.stdout.splitlines() == [
        f'{REPO}: licence cc-by-nc-sa-4.0',
        'own/tiny-gpt2: 6 files, 5.8 MB',
        'Try: python interactive_conditional_samples.py --model_name tiny-gpt2 --models_dir own',
    ]
    for path in (ROOT / 'models' / 'demo').iterdir():
        assert (tmp_path / 'own' / 'tiny-gpt2' / path.name).read_bytes() == path.read_bytes()
    fetched = {path.rpartition('/')[2] for method, path, *_ in hub.asked if 'resolve' in path}
    assert 'model.safetensors' in fetched
    assert not fetched & {'pytorch_model.bin', 'flax_model.msgpack', 'README.md'}
    assert (tmp_path / 'home').is_dir()


def test_goes_on_where_it_was_interrupted(hub, files, monkeypatch):
    monkeypatch.setattr(constants, 'DOWNLOAD_CHUNK_SIZE', 2**16)
    hub.quirks.add('cut')
    found = fetch(REPO)
    assert (found.folder / 'model.safetensors').read_bytes() == files['model.safetensors']
    half = len(files['model.safetensors']) // 2
    spans = [span for method, path, span, _ in hub.asked if 'model.safe' in path and span]
    assert spans == [f'bytes={half // 2**16 * 2**16}-']
    hub.asked.clear()
    assert fetch(REPO) == found and found.license == 'cc-by-nc-sa-4.0'
    assert not [path for method, path, *_ in hub.asked if method == 'GET' and 'resolve' in path]


def test_wrong_bytes_do_not_stay(hub, files):
    for quirk in ('wrong byte', 'wrong config'):
        hub.quirks = {quirk}
        with pytest.raises(UserError, match='sends other bytes of .* checksum .*; run the same'):
            fetch(REPO)
        hub.quirks.clear()
        found = fetch(REPO).folder
        for name in ('model.safetensors', 'config.json'):
            assert (found / name).read_bytes() == files[name]
            (found / name).resolve().unlink()
            (found / name).unlink()


@pytest.mark.parametrize(
    'repo, revision, quirk, sentence',
    [
        ('someone/other', None, '', 'has no public model someone/other; write it as in .*login'),
        (REPO, None, 'private', f'has no public model {REPO}; .* run: hf auth login'),
        (REPO, None, 'gated', f'{REPO} is not open to everybody; accept its terms at .*auth login'),
        (REPO, 'old', '', f'{REPO} has no revision old; set another --revision'),
        (
            REPO,
            None,
            'broken',
            f'{REPO} cannot be fetched .*500.*; run the same',
        ),
        ('a b', None, '', "--hub is a name as distilbert/distilgpt2, not 'a b'"),
    ],
)
def test_what_the_hub_refuses_is_a_sentence(hub, repo, revision, quirk, sentence):
    hub.quirks = {quirk}
    with pytest.raises(UserError, match=sentence) as caught:
        fetch(repo, revision)
    assert '\n' not in str(caught.value)


def test_nobody_answers(hub, monkeypatch):
    monkeypatch.setattr(constants, 'ENDPOINT', 'http://127.0.0.1:9')
    with pytest.raises(UserError, match='cannot be fetched from http://127.0.0.1:9: .*; run the'):
        fetch(REPO)


def test_a_repository_without_safetensors(hub):
    del hub.files['model.safetensors']
    with pytest.raises(UserError, match='pytorch_model.bin alone, a pickle, .*: hf download some'):
        fetch(REPO)
    del hub.files['pytorch_model.bin']
    with pytest.raises(UserError, match='has no model.safetensors and no config.json; name'):
        fetch(REPO)
    assert not [path for method, path, *_ in hub.asked if 'resolve' in path]


def test_another_kind_of_model_is_not_fetched(hub):
    hub.files['config.json'] = b'{"model_type": "llama"}'
    with pytest.raises(UserError, match='has model_type "llama", and GPT-2 has "gpt2"'):
        fetch(REPO)
    assert not [path for method, path, *_ in hub.asked if 'model.safetensors' in path]


def test_mistakes_of_the_script(run, tmp_path):
    (tmp_path / 'models' / 'tiny').mkdir(parents=True)
    (tmp_path / 'models' / 'tiny' / 'a').touch()
    for argv, sentence in (
        (['--hub', 'a/tiny', '124M'], '--hub names the model; leave it out, or 124M'),
        (['--hub', 'a/tiny'], 'models/tiny is there already; name another folder'),
        (['--hub', 'a/..'], "--model_name is the name of a folder, not '..'"),
        (['--revision', 'x', '124M'], '--revision is for --hub'),
    ):
        done = run('download_model.py', *argv)
        assert (done.returncode, done.stdout) == (2, '') and sentence in done.stderr, done.stderr
    assert os.listdir(tmp_path) == ['models']
