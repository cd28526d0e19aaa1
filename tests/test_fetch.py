"""A download from a server on loopback that misbehaves, and download_model.py as users run it."""

import contextlib
import fcntl
import os
import signal
import socket
import socketserver
import struct
import subprocess
import sys
import termios
import threading
import time
import types
from pathlib import Path

import pytest

from conftest import ROOT
from gpt2 import fetch, releases
from gpt2.errors import UserError
from server import BIG, DATA, HALF, SMALL, download, is_right, part_has, serve, take_naps  # noqa: F401  fixtures

SCRIPT = ROOT / 'download_model.py'


def script(server, *args, prelude='', **options):
    """Start download_model.py as its users do, but for the known hashes and the pauses."""
    Path('models').mkdir(exist_ok=True)  # else it is the folder beside the script
    code = f"""
import resource, runpy
from gpt2 import fetch, releases
releases.KNOWN, fetch.WAITS = dict.fromkeys(releases.KNOWN, {{}}), ()
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


def test_goes_on_where_the_connection_was_cut(server, naps):
    server.quirks = ['cut']
    download(server)
    assert [span for _, _, span in server.gets(DATA)] == [None, f'bytes={HALF}-']
    assert is_right('models/774M')
    assert naps == [1]


def test_waits_longer_and_longer_while_the_server_is_busy(server, naps):
    server.quirks = ['503', '503']
    download(server)
    assert is_right('models/774M')
    assert naps == [1, 2]


def test_gives_up_on_a_server_that_stays_busy_and_keeps_the_part(server, naps):
    server.quirks = ['503', 'cut'] + ['503'] * 4
    with pytest.raises(UserError, match=f'{DATA} cannot be fetched: .* 503 .*; .* run: python'):
        download(server)
    assert naps == [1, 1, 2, 4, 8]  # the try that brought something renews the patience
    assert part_has(HALF)
    server.asked.clear()
    download(server)
    assert [span for _, _, span in server.gets(DATA)] == [f'bytes={HALF}-']
    assert is_right('models/774M')


def test_a_stalled_connection_times_out_and_goes_on(server, naps, monkeypatch):
    monkeypatch.setattr(fetch, 'TIMEOUT', 0.2)
    server.quirks = ['stall']
    start = time.monotonic()
    download(server)
    assert time.monotonic() - start < 10
    assert [span for _, _, span in server.gets(DATA)] == [None, f'bytes={HALF}-']
    assert is_right('models/774M')


def test_starts_over_where_the_server_knows_no_range(server):
    server.quirks = ['cut', 'no range']
    download(server)
    assert [span for _, _, span in server.gets(DATA)] == [None, f'bytes={HALF}-']
    assert is_right('models/774M')


@pytest.mark.parametrize('quirk', ['wrong range', '416'])
def test_starts_over_where_the_rest_cannot_be_had(server, quirk):
    server.quirks = ['cut', quirk]
    download(server)
    assert [span for _, _, span in server.gets(DATA)] == [None, f'bytes={HALF}-', None]
    assert is_right('models/774M')


def test_a_server_without_range_that_always_cuts_comes_to_an_end(server, naps):
    server.quirks = ['cut', '416'] * 20
    with pytest.raises(UserError, match='cannot be fetched'):
        download(server)
    assert len(naps) < 10


@pytest.mark.parametrize('asked', ['GET', 'HEAD'])
def test_an_error_page_is_no_model(server, asked, naps):
    if asked == 'GET':
        server.quirks = ['404']
    else:
        del server.files[f'/774M/{DATA}']
    with pytest.raises(UserError, match=f'{server.url}/774M/{DATA} answers 404 Not Found'):
        download(server)
    assert naps == []
    assert not Path('models/774M', DATA).exists()
    assert not part_has(1)


def test_a_page_in_a_files_place_is_no_model(server):
    server.quirks = ['200']  # with the XML body
    with pytest.raises(UserError, match='answers 200 OK, a page of type application/xml;'):
        download(server)
    assert not Path('models/774M', DATA).exists()


@pytest.mark.parametrize('surplus', [-1, 1])
def test_a_lie_about_the_length_is_found_out(server, surplus):
    server.surplus = surplus
    with pytest.raises(UserError, match='checkpoint (cannot be fetched|sends other bytes)'):
        download(server)
    assert not Path('models/774M/checkpoint').exists()


def test_a_wrong_byte_costs_one_more_try(server):
    server.quirks = ['wrong byte']
    download(server)
    assert [span for _, _, span in server.gets(DATA)] == [None, None]
    assert is_right('models/774M')


def test_a_file_without_end_is_not_written_to_its_end(server):
    server.quirks = ['endless']
    download(server)
    assert not server.reached_the_end
    assert is_right('models/774M')


def test_a_part_with_wrong_bytes_is_thrown_away(server):
    os.makedirs('models/774M')
    Path('models/774M', DATA + '.part').write_bytes(bytes(HALF))
    download(server)
    assert [span for _, _, span in server.gets(DATA)] == [f'bytes={HALF}-', None]
    assert is_right('models/774M')


@pytest.mark.parametrize('surplus', [0, 1])
def test_a_part_that_is_as_long_as_the_file_or_longer(server, surplus):
    os.makedirs('models/774M')
    Path('models/774M', DATA + '.part').write_bytes(BIG + bytes(surplus))
    download(server)
    assert len(server.gets(DATA)) == surplus
    assert is_right('models/774M')


def test_bytes_that_stay_wrong_are_an_error(server):
    server.quirks = ['wrong byte', 'wrong byte']
    with pytest.raises(UserError, match=f'{server.url}/774M/{DATA} sends other bytes'):
        download(server)
    assert not list(Path('models/774M').glob(DATA + '*'))


def test_room_is_checked_for_what_is_still_to_come(server, monkeypatch):
    os.makedirs('models/774M')
    Path('models/774M', DATA + '.part').write_bytes(BIG[:-100])
    needed = 100 + sum(map(len, SMALL.values()))
    free = types.SimpleNamespace(free=needed - 1)
    monkeypatch.setattr(fetch.shutil, 'disk_usage', lambda path: free)
    with pytest.raises(UserError, match=f'{needed}B are still .* room for {needed - 1}B'):
        download(server)
    assert server.gets() == []
    free.free += 1
    download(server)
    assert is_right('models/774M')


def test_two_downloads_do_not_write_to_the_same_part(server):
    os.makedirs('models/774M')
    with open(f'models/774M/{DATA}.part', 'ab') as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(UserError, match=f'another download is writing .*{DATA}.part'):
            download(server)
    assert server.gets(DATA) == []
    download(server)
    assert is_right('models/774M')


PAGE = b'HTTP/1.1 200 OK\r\n'
MOVED = b'HTTP/1.1 302 Found\r\nLocation: '


@pytest.mark.parametrize(
    'answer',
    [
        *(
            PAGE + b'Content-Length: ' + told
            for told in (b'-5', b'1' + b'0' * 30, b'many', b'5, 6', b'\xb2', b'', b'0x10', b'1_0')
        ),
        PAGE,
        PAGE + b'Content-Length: 5\r\nContent-Encoding: gzip\r\nTransfer-Encoding: chunked',
        b'HTTP/1.1 999 ' + b'x' * 70_000,
        b'HTTP/1.1 200',
        b'SSH-2.0-OpenSSH',
        b'\xff\xfe',
        b'',
        PAGE + b'\r\n'.join(b'A: b' for _ in range(200)),
        *(
            MOVED + place
            for place in (
                *(b'ftp://example.com/a', b'file:///etc/passwd', b'/round/and/round', b'\xff\xfe'),
                *(b'http://[::', b'http://127.0.0.1:99999999', b'http://a b/', b'//', b'http://'),
                *(b'http://' + b'a' * 64 + b'.de', b'https://127.0.0.1:9/', b'http://..'),
            )
        ),
    ],
)
def test_hostile_answers_are_one_sentence(naps, answer):
    with (
        Raw(answer) as raw,
        pytest.raises(UserError, match=r'^\S+.*; .*(run: python|--base_url)') as told,
    ):
        releases.download(['774M'], base_url=raw.url)
    assert '\n' not in str(told.value)
    files = [path for path in Path().rglob('*') if path.is_file()]
    assert all(path.suffix == '.part' for path in files)


class Raw(socketserver.ThreadingTCPServer):
    """A server that answers everything with the same bytes, as they are."""

    def __init__(self, answer):
        super().__init__(('127.0.0.1', 0), RawHandler)
        self.answer, self.url = answer, f'http://127.0.0.1:{self.server_address[1]}'

    def __enter__(self):
        threading.Thread(target=self.serve_forever, args=(0.01,)).start()
        return self

    def __exit__(self, *_):
        self.shutdown()
        self.server_close()


class RawHandler(socketserver.BaseRequestHandler):
    def handle(self):
        self.request.recv(65536)
        self.request.sendall(self.server.answer + b'\r\n\r\n')


@pytest.mark.parametrize(
    'proxy', ['nonsense', 'foo://127.0.0.1:9', 'http://[::', 'socks5://127.0.0.1:9', 'http://a b']
)
def test_a_proxy_that_is_none_is_one_sentence(naps, monkeypatch, proxy):
    monkeypatch.setenv('http_proxy', proxy)
    monkeypatch.setenv('no_proxy', 'localhost')
    monkeypatch.delenv('NO_PROXY', raising=False)
    with pytest.raises(UserError, match='; (unset http_proxy and|once that is settled, run: ).*'):
        releases.download(['774M'], base_url='http://127.0.0.1:9')


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


def test_a_page_in_the_place_of_a_file(server, naps):
    """Whole, but with other bytes than were announced for the file."""
    server.quirks = ['page'] * 9
    with pytest.raises(UserError, match='sends other bytes than the .*; try another --base_url'):
        download(server, '774M')
    assert not list(Path('models/774M').glob(f'{DATA}*'))


def test_what_never_came_leaves_nothing(server, naps):
    server.files.clear()
    with pytest.raises(UserError, match='404'):
        fetch.fetch(
            [fetch.File(f'{server.url}/x', Path('m/x/y'), 9, 'md5', None)], Path('m'), 'again'
        )
    assert not Path('m/x').exists()
