"""A server of the demo model on loopback, in this process: a fixture for every test in here."""

import socket
import threading
import time
from typing import NamedTuple

import pytest
import uvicorn

from conftest import ROOT
from gpt2 import loading
from gpt2.serving.app import App
from gpt2.serving.engine import Engine
from gpt2.serving.server import listen


class Live(NamedTuple):
    app: App
    engine: Engine
    port: int

    @property
    def url(self) -> str:
        return f'http://127.0.0.1:{self.port}'

    def idle(self) -> bool:
        """Whether nothing runs or waits any more, within some steps on a machine that is busy."""
        end = time.monotonic() + 3
        while (self.engine.running or self.engine.queued) and time.monotonic() < end:
            time.sleep(0.01)
        return not (self.engine.running or self.engine.queued)

    def send(self, content: bytes) -> socket.socket:
        """A connection on which this is sent."""
        connection = socket.create_connection(('127.0.0.1', self.port), timeout=20)
        connection.sendall(content)
        return connection


def post(body: bytes, path='/v1/completions', length=None) -> bytes:
    """A request as it is sent."""
    length = len(body) if length is None else length
    head = f'POST {path} HTTP/1.1\r\nHost: here\r\nContent-Length: {length}\r\n\r\n'
    return head.encode() + body


@pytest.fixture(scope='session', name='live')
def serve_live():
    model = loading.load('demo', ROOT / 'models', 'float32')
    engine = Engine(model, rows=4)
    engine.compile()
    app = App(origins=['https://example.com'])
    app.engines['demo'], app.ready = engine, True
    thread = threading.Thread(target=engine.run, daemon=True)
    thread.start()
    config = uvicorn.Config(app, http='h11', ws='none', log_level='error', access_log=False)
    server = uvicorn.Server(config)
    with listen('127.0.0.1', 0) as listener:
        serving = threading.Thread(target=server.run, args=([listener],), daemon=True)
        serving.start()
        yield Live(app, engine, listener.getsockname()[1])
        server.should_exit = True
        serving.join(20)
    thread.join(20)
    assert not thread.is_alive()
