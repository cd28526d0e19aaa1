"""serve.py as a process: it listens at once, and ends in peace."""

import json
import re
import signal
import subprocess
import sys
import time

import httpx
import pytest

from conftest import ROOT
from gpt2.errors import UserError
from gpt2.serving.app import App
from gpt2.serving.server import address, is_loopback, listen, serve


@pytest.fixture
def started(tmp_path):
    """A server that is loading, and its address."""
    command = [sys.executable, ROOT / 'serve.py', '--model_name', 'demo', '--max_batch', '1']
    process = subprocess.Popen(
        [*map(str, command), '--port', '0', '--grace', '20'],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
    )
    yield process, re.fullmatch(r'(http://127\.0\.0\.1:\d+)\n', process.stderr.readline())[1]
    process.kill()
    process.wait()
    process.stderr.close()


def test_a_life(started):
    """Loading, ready, a request under way as it is told to end, and the end."""
    process, url = started
    assert httpx.get(f'{url}/health').status_code == 503
    assert httpx.get(f'{url}/').text.startswith('<!doctype html>')
    end = time.monotonic() + 300
    while httpx.get(f'{url}/health').status_code != 200:
        assert time.monotonic() < end and process.poll() is None
        time.sleep(0.1)
    assert 'demo: 1 texts of 256 tokens at a time' in process.stderr.readline()
    body = {'model': 'demo', 'prompt': 'a', 'max_tokens': 200, 'stream': True, 'ignore_eos': True}
    with httpx.stream('POST', f'{url}/v1/completions', json=body, timeout=60) as answer:
        lines = answer.iter_lines()
        next(lines)
        process.send_signal(signal.SIGTERM)
        *_, last, done = filter(None, lines)
    assert done == 'data: [DONE]'
    assert json.loads(last[6:])['choices'][0]['finish_reason'] == 'length'
    assert process.wait(30) == -signal.SIGTERM
    assert process.stderr.read() == 'ready\n'


def test_a_port_that_is_taken(process):
    with listen('127.0.0.1', 0) as listener:
        port = listener.getsockname()[1]
        done = process('serve.py', '--model_name', 'demo', '--port', port)
    assert (done.returncode, done.stdout) == (2, '')
    what = f'127.0.0.1 port {port}: Address already in use; set another --host or --port'
    assert done.stderr == f'serve.py: {what}\n'


def test_a_model_that_cannot_be_loaded():
    """Ends the server, with the sentence that says why."""

    class Broken:
        name = 'broken'

        def load(self, precision):
            raise UserError('the checkpoint is broken')

    asked = {'port': 0, 'precision': 'float32', 'rows': 1, 'most_waiting': 1, 'grace': 1}
    with pytest.raises(UserError, match='the checkpoint is broken'):
        serve(App(), [Broken()], host='127.0.0.1', **asked)


def test_addresses():
    assert all(map(is_loopback, ('localhost', '127.0.0.1', '127.1.2.3', '::1')))
    assert not any(map(is_loopback, ('0.0.0.0', '::', '10.0.0.1', 'example.com')))
    with listen('127.0.0.1', 0) as listener:
        assert address(listener) == f'127.0.0.1:{listener.getsockname()[1]}'
