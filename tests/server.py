"""A real HTTP server on loopback that serves a model and misbehaves when told to.

Tests import its fixtures by the names of their functions, which differ from those of the fixtures:
an argument then shadows no import.
"""

import base64
import hashlib
import http.server
import random
import sys
import threading
import types
from pathlib import Path

import pytest

from gpt2 import fetch, releases

DATA = releases.DATA
BIG = random.Random(0).randbytes(5 * fetch.BYTES_PER_READ)  # what DATA holds: no two reads alike
HALF = 3 * fetch.BYTES_PER_READ  # where a connection is cut
SMALL = {name: f'this is {name}'.encode() for name in releases.FILES if name != DATA}
CONTENT = SMALL | {DATA: BIG}


class Server(http.server.ThreadingHTTPServer):
    """Serves `files`; each GET of DATA takes its manners from `quirks` while there are some."""

    def __init__(self):
        super().__init__(('127.0.0.1', 0), Handler)
        self.files = {f'/774M/{name}': content for name, content in CONTENT.items()}
        self.quirks, self.asked, self.md5, self.surplus = [], [], True, 0
        self.url = f'http://127.0.0.1:{self.server_port}'
        self.proceed, self.reached_the_end = threading.Event(), False

    def gets(self, name=''):
        return [what for what in self.asked if what[0] == 'GET' and name in what[1]]

    def handle_error(self, request, client_address):
        pass  # a client that was killed


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'

    def do_GET(self):
        server, span = self.server, self.headers['Range']
        server.asked.append((self.command, self.path, span))
        fetches_data = self.command == 'GET' and self.path.endswith(DATA)
        quirk = server.quirks.pop(0) if fetches_data and server.quirks else ''
        plain = self.headers['Accept-Encoding'] == 'identity'
        content = server.files.get(self.path) if plain else None
        if content is None or quirk.isdigit():
            return self.answer(int(quirk or 404), b'<?xml version="1.0"?><Error>no</Error>', 'xml')
        md5 = base64.b64encode(hashlib.md5(content).digest()).decode()
        headers = {'Content-MD5': md5} if server.md5 and not span else {}
        start = int(span[len('bytes=') : -1]) if span and quirk != 'no range' else 0
        if start:
            told = start + (quirk == 'wrong range')
            headers['Content-Range'] = f'bytes {told}-{len(content) - 1}/{len(content)}'
        if quirk == 'wrong byte':
            content = content[:-1] + bytes([content[-1] ^ 1])
        if quirk == 'page':
            content = b'<p>Log in first.</p>'
        self.answer(206 if start else 200, content[start:], quirk=quirk, headers=headers)

    do_HEAD = do_GET

    def answer(self, status, body, kind='octet-stream', quirk='', headers=None):
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header('Content-Type', f'application/{kind}')
        if quirk != 'endless':
            self.send_header('Content-Length', str(len(body) + self.server.surplus))
        self.end_headers()
        if self.command == 'GET':
            self.wfile.write(body[:HALF] if quirk in ('cut', 'stall') else body)
        if quirk == 'endless':
            for _ in range(1000):  # no socket's buffer takes so much
                self.wfile.write(body)
            self.server.reached_the_end = True
        if quirk == 'stall':
            self.server.proceed.wait(20)
        self.close_connection = bool(quirk or self.server.surplus)

    def log_message(self, *args):
        pass


@pytest.fixture(name='server')
def serve(monkeypatch):
    monkeypatch.setenv('NO_PROXY', '127.0.0.1')
    monkeypatch.delenv('GPT2_MODELS_URL', raising=False)
    with Server() as server:
        threading.Thread(target=server.serve_forever, args=(0.01,)).start()
        yield server
        server.proceed.set()
        server.shutdown()


@pytest.fixture(name='naps', autouse=True)
def take_naps(monkeypatch, tmp_path):
    """The pauses that were taken, none of which was waited for; nothing is known beforehand."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(releases, 'KNOWN', dict.fromkeys(releases.KNOWN, {}))
    naps = []
    monkeypatch.setattr(fetch, 'time', types.SimpleNamespace(sleep=naps.append))
    return naps


def download(server, *names, **options):
    releases.download(names or ('774M',), base_url=server.url, out=sys.stdout, **options)


def is_right(folder, content=CONTENT):
    return {path.name: path.read_bytes() for path in Path(folder).iterdir()} == content


def part_has(size, folder='models/774M'):
    part = Path(folder, DATA + '.part')
    return part.exists() and part.stat().st_size >= size
