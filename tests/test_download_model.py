"""The downloader against a real HTTP server on loopback that misbehaves when told to."""

import base64
import contextlib
import fcntl
import hashlib
import http.server
import os
import random
import signal
import socket
import struct
import subprocess
import sys
import termios
import threading
import time
import types
from pathlib import Path

import pytest

from gpt2 import download
from gpt2.errors import UserError

SCRIPT = Path(__file__).resolve().parent.parent / 'download_model.py'
DATA = download.DATA
BIG = random.Random(0).randbytes(5 * download.CHUNK)  # what DATA holds: no two chunks alike
HALF = 3 * download.CHUNK  # where a connection is cut
SMALL = {name: f'this is {name}'.encode() for name in download.FILES if name != DATA}
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


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv('NO_PROXY', '127.0.0.1')
    monkeypatch.delenv('GPT2_MODELS_URL', raising=False)
    with Server() as server:
        threading.Thread(target=server.serve_forever, args=(0.01,)).start()
        yield server
        server.proceed.set()
        server.shutdown()


@pytest.fixture(autouse=True)
def naps(monkeypatch, tmp_path):
    """The pauses that were taken, none of which was waited for; nothing is known beforehand."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(download, 'KNOWN', dict.fromkeys(download.KNOWN, {}))
    naps = []
    monkeypatch.setattr(download, 'time', types.SimpleNamespace(sleep=naps.append))
    return naps


def fetch(server, *names, **options):
    download.download(names or ('774M',), base_url=server.url, **options)


def is_right(folder, content=CONTENT):
    return {path.name: path.read_bytes() for path in Path(folder).iterdir()} == content


def script(server, *args, prelude='', **options):
    """Start download_model.py as its users do, but for the known hashes and the pauses."""
    Path('models').mkdir(exist_ok=True)  # else it is the folder beside the script
    code = f"""
import resource, runpy
from gpt2 import download
download.KNOWN, download.WAITS = dict.fromkeys(download.KNOWN, {{}}), ()
{prelude}
runpy.run_path({str(SCRIPT)!r}, run_name='__main__')"""
    env = {**os.environ, 'GPT2_MODELS_URL': server.url, 'PYTHONDONTWRITEBYTECODE': '1'}
    pipes = {'stdout': subprocess.PIPE, 'stderr': subprocess.PIPE, 'env': env} | options
    return subprocess.Popen([sys.executable, '-c', code, *args], **pipes)


def output(process):
    out, err = process.communicate(timeout=20)
    return process.returncode, out.decode(), err.decode()


def wait_for(condition):
    for _ in range(1000):
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError('it did not happen in 10 seconds')


def part_has(size, folder='models/774M'):
    part = Path(folder, DATA + '.part')
    return part.exists() and part.stat().st_size >= size


def test_fetches_every_file_and_says_what_to_try(server, naps, capsys, monkeypatch):
    synced = []
    monkeypatch.setattr(download.os, 'fsync', synced.append)
    fetch(server)
    assert len(synced) == 7
    assert is_right('models/774M')
    assert naps == []
    out = capsys.readouterr().out
    assert 'models/774M: 7 files, 7 fetched' in out
    assert out.endswith('Try: python interactive_conditional_samples.py --model_name 774M\n')
    assert 'Content-MD5' not in out


def test_second_run_gets_nothing_and_a_broken_file_is_repaired(server, capsys):
    fetch(server)
    server.asked.clear()
    fetch(server)
    assert server.gets() == []
    Path('models/774M/vocab.bpe').write_bytes(b'This is vocab.bpe')  # of the same length
    Path('models/774M', DATA).write_bytes(BIG[:-1])
    fetch(server)
    assert [path for _, path, _ in server.gets()] == [f'/774M/{DATA}', '/774M/vocab.bpe']
    assert is_right('models/774M')
    assert 'models/774M: 7 files, 2 fetched' in capsys.readouterr().out


def test_asks_under_the_new_name_and_keeps_the_typed_one(server, capsys):
    fetch(server, '762M', models_dir='my models')
    assert is_right('my models/762M')
    assert {path.split('/')[1] for _, path, _ in server.asked} == {'774M'}
    assert capsys.readouterr().out.endswith("--model_name 762M --models_dir 'my models'\n")
    server.asked.clear()
    for names in (['774M'], ['774M', '762M']):  # one model, and it is there
        fetch(server, *names, models_dir='my models')
    assert server.gets() == []
    assert os.listdir('my models') == ['762M']


def test_several_models_at_once(server, capsys):
    server.files |= {f'/1558M/{name}': content[::-1] for name, content in CONTENT.items()}
    fetch(server, '774M', '1542M')
    assert is_right('models/774M')
    assert is_right('models/1542M', {name: content[::-1] for name, content in CONTENT.items()})
    assert 'models/1542M: 7 files, 7 fetched' in capsys.readouterr().out


def test_models_dir_beside_the_script_where_only_that_exists(server, tmp_path):
    (tmp_path / 'repository/models').mkdir(parents=True)
    (tmp_path / 'elsewhere').mkdir()
    os.chdir('elsewhere')
    fetch(server, beside=tmp_path / 'repository/download_model.py')
    assert is_right(tmp_path / 'repository/models/774M')
    assert os.listdir() == []
    os.mkdir('models')
    fetch(server, beside=tmp_path / 'repository/download_model.py')
    assert is_right('models/774M')


def test_goes_on_where_the_connection_was_cut(server, naps):
    server.quirks = ['cut']
    fetch(server)
    assert [span for _, _, span in server.gets(DATA)] == [None, f'bytes={HALF}-']
    assert is_right('models/774M')
    assert naps == [1]


def test_waits_longer_and_longer_while_the_server_is_busy(server, naps):
    server.quirks = ['503', '503']
    fetch(server)
    assert is_right('models/774M')
    assert naps == [1, 2]


def test_gives_up_on_a_server_that_stays_busy_and_keeps_the_part(server, naps):
    server.quirks = ['503', 'cut'] + ['503'] * 4
    with pytest.raises(UserError, match=f'{DATA} cannot be fetched: .* 503 .*; .* run: python'):
        fetch(server)
    assert naps == [1, 1, 2, 4, 8]  # the try that brought something renews the patience
    assert part_has(HALF)
    server.asked.clear()
    fetch(server)
    assert [span for _, _, span in server.gets(DATA)] == [f'bytes={HALF}-']
    assert is_right('models/774M')


def test_a_stalled_connection_times_out_and_goes_on(server, naps, monkeypatch):
    monkeypatch.setattr(download, 'TIMEOUT', 0.2)
    server.quirks = ['stall']
    start = time.monotonic()
    fetch(server)
    assert time.monotonic() - start < 10
    assert [span for _, _, span in server.gets(DATA)] == [None, f'bytes={HALF}-']
    assert is_right('models/774M')


def test_starts_over_where_the_server_knows_no_range(server):
    server.quirks = ['cut', 'no range']
    fetch(server)
    assert [span for _, _, span in server.gets(DATA)] == [None, f'bytes={HALF}-']
    assert is_right('models/774M')


@pytest.mark.parametrize('quirk', ['wrong range', '416'])
def test_starts_over_where_the_rest_cannot_be_had(server, quirk):
    server.quirks = ['cut', quirk]
    fetch(server)
    assert [span for _, _, span in server.gets(DATA)] == [None, f'bytes={HALF}-', None]
    assert is_right('models/774M')


def test_a_server_without_range_that_always_cuts_comes_to_an_end(server, naps):
    server.quirks = ['cut', '416'] * 20
    with pytest.raises(UserError, match='cannot be fetched'):
        fetch(server)
    assert len(naps) < 10


@pytest.mark.parametrize('asked', ['GET', 'HEAD'])
def test_an_error_page_is_no_model(server, asked, naps):
    if asked == 'GET':
        server.quirks = ['404']
    else:
        del server.files[f'/774M/{DATA}']
    with pytest.raises(UserError, match=f'{server.url}/774M/{DATA} answers 404 Not Found'):
        fetch(server)
    assert naps == []
    assert not Path('models/774M', DATA).exists()
    assert not part_has(1)


def test_a_page_in_a_files_place_is_no_model(server):
    server.quirks = ['200']  # with the XML body
    with pytest.raises(UserError, match='answers 200 OK, a page of type application/xml;'):
        fetch(server)
    assert not Path('models/774M', DATA).exists()


@pytest.mark.parametrize('surplus', [-1, 1])
def test_a_lie_about_the_length_is_found_out(server, surplus):
    server.surplus = surplus
    with pytest.raises(UserError, match='checkpoint (cannot be fetched|sends other bytes)'):
        fetch(server)
    assert not Path('models/774M/checkpoint').exists()


def test_a_server_that_knows_another_length_is_refused(server, monkeypatch):
    monkeypatch.setitem(download.KNOWN, '774M', {DATA: (len(BIG) + 1, None)})
    with pytest.raises(UserError, match=f'has {len(BIG)} bytes, where {len(BIG) + 1} is expected'):
        fetch(server)


def test_a_wrong_byte_costs_one_more_try(server):
    server.quirks = ['wrong byte']
    fetch(server)
    assert [span for _, _, span in server.gets(DATA)] == [None, None]
    assert is_right('models/774M')


def test_a_file_without_end_is_not_written_to_its_end(server):
    server.quirks = ['endless']
    fetch(server)
    assert not server.reached_the_end
    assert is_right('models/774M')


def test_a_part_with_wrong_bytes_is_thrown_away(server):
    os.makedirs('models/774M')
    Path('models/774M', DATA + '.part').write_bytes(bytes(HALF))
    fetch(server)
    assert [span for _, _, span in server.gets(DATA)] == [f'bytes={HALF}-', None]
    assert is_right('models/774M')


@pytest.mark.parametrize('surplus', [0, 1])
def test_a_part_that_is_as_long_as_the_file_or_longer(server, surplus):
    os.makedirs('models/774M')
    Path('models/774M', DATA + '.part').write_bytes(BIG + bytes(surplus))
    fetch(server)
    assert len(server.gets(DATA)) == surplus
    assert is_right('models/774M')


def test_bytes_that_stay_wrong_are_an_error(server):
    server.quirks = ['wrong byte', 'wrong byte']
    with pytest.raises(UserError, match=f'{server.url}/774M/{DATA} sends other bytes'):
        fetch(server)
    assert not list(Path('models/774M').glob(DATA + '*'))


def test_known_hashes_need_no_server_on_a_second_run(server, monkeypatch):
    known = {
        name: (len(content), hashlib.sha256(content).hexdigest())
        for name, content in CONTENT.items()
    }
    monkeypatch.setitem(download.KNOWN, '774M', known)
    server.md5 = False
    server.quirks = ['wrong byte']
    fetch(server)
    assert {method for method, _, _ in server.asked} == {'GET'}
    assert len(server.gets(DATA)) == 2
    assert is_right('models/774M')
    download.download(['774M'], base_url='http://127.0.0.1:9')  # nobody listens there


def test_says_so_where_only_the_length_could_be_checked(server, capsys):
    server.md5 = False
    fetch(server)
    assert is_right('models/774M')
    assert '7 files could be checked by size only' in capsys.readouterr().out
    Path('models/774M', DATA).write_bytes(BIG[:-1])
    fetch(server)
    assert is_right('models/774M')


def test_the_hashes_of_the_vocabulary(vocab_dir):
    for name, (size, sha256) in download.KNOWN_EVERYWHERE.items():
        content = (vocab_dir / name).read_bytes()
        assert (len(content), hashlib.sha256(content).hexdigest()) == (size, sha256)


@pytest.mark.parametrize('names', [[], ['354M'], ['774M', '345m']])
def test_names_are_checked_before_anything_else(server, names):
    with pytest.raises(UserError, match=f'{names[-1] if names else "no model"}.*345M/355M.*run:'):
        download.download(names, base_url=server.url)
    assert server.asked == []
    assert os.listdir() == []


def test_room_is_checked_for_what_is_still_to_come(server, monkeypatch):
    os.makedirs('models/774M')
    Path('models/774M', DATA + '.part').write_bytes(BIG[:-100])
    needed = 100 + sum(map(len, SMALL.values()))
    free = types.SimpleNamespace(free=needed - 1)
    monkeypatch.setattr(download.shutil, 'disk_usage', lambda path: free)
    with pytest.raises(UserError, match=f'{needed}B are still .* room for {needed - 1}B'):
        fetch(server)
    assert server.gets() == []
    free.free += 1
    fetch(server)
    assert is_right('models/774M')


def test_two_downloads_do_not_write_to_the_same_part(server):
    os.makedirs('models/774M')
    with open(f'models/774M/{DATA}.part', 'ab') as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(UserError, match=f'another download is writing .*{DATA}.part'):
            fetch(server)
    assert server.gets(DATA) == []
    fetch(server)
    assert is_right('models/774M')


def test_a_place_that_is_none(server):
    Path('models').write_bytes(b'')
    with pytest.raises(UserError, match='^models/774M: Not a directory; .*run: python'):
        fetch(server)


def test_no_network_is_one_sentence():
    with socket.create_server(('127.0.0.1', 0)) as closed:
        port = closed.getsockname()[1]
    nobody = types.SimpleNamespace(url=f'http://127.0.0.1:{port}')
    status, out, err = output(script(nobody, '774M'))
    assert (status, out) == (2, '')
    assert err == (
        f'download_model.py: {nobody.url}/774M/checkpoint cannot be fetched: Connection refused; '
        'once that is settled, run: python download_model.py 774M\n'
    )


def test_killed_half_way_and_started_again(server):
    server.quirks = ['stall']
    with script(server, '774M') as process:
        wait_for(lambda: part_has(HALF))
        process.kill()
    assert not Path('models/774M', DATA).exists()
    status, out, err = output(script(server, '774M'))
    assert (status, err) == (0, '')
    assert server.gets(DATA)[-1][2] == f'bytes={HALF}-'
    assert is_right('models/774M')
    assert '\r' not in out
    assert out.endswith('Try: python interactive_conditional_samples.py --model_name 774M\n')


def test_ctrl_c_is_quiet_and_keeps_the_part(server):
    server.quirks = ['stall']
    process = script(server, '774M')
    wait_for(lambda: part_has(HALF))
    process.send_signal(signal.SIGINT)
    assert output(process) == (130, '', '')
    assert part_has(HALF)


def test_a_full_disk_is_one_sentence_and_keeps_the_part(server):
    # The largest file a process may write stands in for a full disk: write() fails the same way.
    limit = f'resource.setrlimit(resource.RLIMIT_FSIZE, ({HALF}, {HALF}))'
    status, out, err = output(script(server, '774M', prelude=limit))
    assert (status, out) == (2, '')
    assert err.startswith('download_model.py: models: File too large; ')
    assert err.count('\n') == 1
    assert part_has(HALF)


def test_a_terminal_shows_bytes_rate_and_time_left(server):
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack('4H', 24, 80, 0, 0))
    process = script(server, '774M', stdout=theirs)
    os.close(theirs)
    shown = b''
    with contextlib.suppress(OSError):  # how Linux says that the other end is closed
        while piece := os.read(ours, 4096):
            shown += piece
    os.close(ours)
    assert process.wait(20) == 0
    assert process.stderr.read() == b''
    process.stderr.close()
    assert b'100% 328k/328kB ' in shown and b'B/s 00:00 left ' + DATA.encode() in shown
