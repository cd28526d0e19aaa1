"""Trainings in the test's own process."""

import inspect
import runpy
import signal
import socket
from pathlib import Path
from types import SimpleNamespace

import pytest

from conftest import ROOT, write_model
from gpt2.hparams import HParams
from gpt2.training.prepare import Job, prepare

SMALL = Path('models', 'small')
SHAPE = HParams(n_vocab=1024, n_ctx=64, n_embd=16, n_head=2, n_layer=1)


@pytest.fixture(autouse=True)
def working_directory(tmp_path, monkeypatch):
    """One of the test's own; and what an interrupt does is what it was before."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv('TF_CONFIG', raising=False)
    before = [
        (number, signal.getsignal(number))
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    ]
    yield
    for number, handler in before:
        signal.signal(number, handler)


def default_flags(**flags) -> SimpleNamespace:
    """train.py's, as its signature says them, but for those given."""
    parameters = inspect.signature(runpy.run_path(str(ROOT / 'train.py'))['train']).parameters
    return SimpleNamespace(**{name: p.default for name, p in parameters.items()} | flags)


def new_job(**flags) -> Job:
    """Of models/small, made where it is missing, in the working directory."""
    if not SMALL.exists():
        write_model(SMALL, SHAPE)
    small = {'batch_size': 2, 'context_length': 32, 'sample_every': 0, 'seed': 1}
    small |= {'dataset': str(ROOT / 'README.md'), 'model_name': 'small'}
    return prepare(default_flags(**small | flags), say=print)


def train(**flags) -> tuple[int, list[str]]:
    """How many steps the run has, and the lines that are said."""
    from gpt2.training import loop

    said = []
    return loop.train(new_job(**flags), said.append), said


def free_addresses() -> list[str]:
    """Of two workers on this machine."""
    servers = [socket.create_server(('localhost', 0)) for _ in range(2)]
    found = [f'localhost:{server.getsockname()[1]}' for server in servers]
    for server in servers:
        server.close()
    return found
