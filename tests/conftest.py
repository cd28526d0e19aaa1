import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import hypothesis
import numpy as np
import pytest

ROOT = Path(__file__).parent.parent
DATA = Path(__file__).parent / 'data'
# Resolved here: tests change the working directory.
VOCAB_DIR = Path(os.environ['GPT2_VOCAB_DIR']).resolve() if 'GPT2_VOCAB_DIR' in os.environ else None

hypothesis.settings.register_profile('offline', deadline=None, database=None, derandomize=True)
hypothesis.settings.load_profile('offline')


@pytest.fixture(scope='session')
def golden():
    """OpenAI's own outputs on tests/data/tiny-random."""
    return dict(np.load(DATA / 'forward.npz'))


@pytest.fixture
def vocab_dir():
    """The folder with GPT-2's encoder.json and vocab.bpe, which this repository does not hold."""
    if VOCAB_DIR is None:
        pytest.skip("GPT2_VOCAB_DIR names no folder with GPT-2's encoder.json and vocab.bpe")
    return VOCAB_DIR


def write_vocabulary(folder, n_vocab):
    """An encoder.json and vocab.bpe of n_vocab tokens: the bytes, pairs of them, end of text."""
    from gpt2.encoder import bytes_to_unicode

    letters = list(bytes_to_unicode().values())
    merges = [(a, b) for a in letters[:26] for b in letters[32:58]][: n_vocab - 257]
    tokens = [*letters, *(a + b for a, b in merges), '<|endoftext|>']
    (folder / 'encoder.json').write_text(json.dumps({t: i for i, t in enumerate(tokens)}))
    lines = ['#version: 0.2', *(f'{a} {b}' for a, b in merges), '']
    (folder / 'vocab.bpe').write_text('\n'.join(lines), encoding='utf-8')


def write_model(folder, hparams):
    """Random parameters, and the demo model's vocabulary, which is of 1024 tokens."""
    from gpt2.checkpoint import save_params
    from gpt2.params import init_params

    folder.mkdir(parents=True)
    for name in ('encoder.json', 'vocab.bpe'):
        shutil.copy(ROOT / 'models' / 'demo' / name, folder)
    (folder / 'hparams.json').write_text(json.dumps(hparams.to_dict()))
    save_params(folder / 'model.ckpt', init_params(hparams, seed=1))


def load_tiny(convert=None, n_layer=3):
    """(params, hparams) of tests/data/tiny-random, or of its first blocks alone."""
    from gpt2.checkpoint import load_params
    from gpt2.model_folder import load_hparams

    hparams = load_hparams(DATA / 'tiny-random')
    params = load_params(DATA / 'tiny-random', hparams, convert)
    for number in range(n_layer, hparams.n_layer):
        del params[f'h{number}']
    return params, hparams.override_from_dict({'n_layer': n_layer})


def new_trainer(n_layer=3, **options):
    """A Trainer of tests/data/tiny-random, from which OpenAI's training went."""
    from gpt2.training.trainer import Trainer

    return Trainer(*load_tiny(n_layer=n_layer), **options)


def steps(trainer, batches, rate, first=0):
    """The loss of each step over batches [steps, accumulate, batch, n]."""
    import tensorflow as tf

    batches = enumerate(tf.constant(batches), start=first)
    return [trainer.step(batch, batch, rate, number)[0] for number, batch in batches]


@pytest.fixture
def tiny(tmp_path):
    """A models folder holding one complete model: OpenAI's random tiny one, as models/tiny."""
    folder = tmp_path / 'models' / 'tiny'
    shutil.copytree(DATA / 'tiny-random', folder)
    write_vocabulary(folder, 512)
    return folder


@pytest.fixture(scope='session', autouse=True)
def cache_folder(tmp_path_factory):
    """Where the samplers keep what XLA compiled: one folder for all tests, not the user's; nor do
    their prompts come into the user's history."""
    os.environ.pop('COLUMNS', None)  # pytest-xdist's; terminals here have widths of their own
    folder = tmp_path_factory.getbasetemp()
    if 'PYTEST_XDIST_WORKER' in os.environ:
        folder = folder.parent  # all workers', each of whom has a folder of its own in there
    os.environ['XDG_CACHE_HOME'] = str(folder / 'cache')
    os.environ['XDG_STATE_HOME'] = str(folder / 'state')


@pytest.fixture(scope='session', autouse=True)
def heard():
    """Signals arrive as at a terminal, though what started the tests has them ignored: nohup does
    so with SIGHUP, a shell with a background job's SIGINT."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)


@pytest.fixture(scope='session', autouse=True)
def started(cache_folder):
    """TensorFlow, started and its flags read as in a script, whichever test comes first."""
    import tensorflow as tf

    from gpt2 import runtime

    before = dict(os.environ)
    runtime.start()
    tf.get_logger().setLevel('ERROR')
    tf.function(lambda: tf.constant(0), jit_compile=True)()  # now XLA reads its flags
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture
def process(tmp_path):
    """Runs a script of this repository as a user would, from tmp_path."""

    def process(script, *args, cwd=tmp_path, **options):
        options = {
            'capture_output': True,
            'text': True,
            'encoding': 'utf-8',
            'timeout': 300,
        } | options
        return subprocess.run([sys.executable, ROOT / script, *map(str, args)], cwd=cwd, **options)

    return process


@pytest.fixture
def run(tmp_path):
    """The same within the process of the tests, which spares TensorFlow's start."""
    from in_process import run_script

    def run(script, *args, cwd=tmp_path, input=''):
        return run_script(ROOT / script, args, cwd, input)

    return run


@pytest.fixture
def no_tensorflow(tmp_path, monkeypatch):
    """Importing TensorFlow ends a process: what is said before costs the user no wait.

    Here, where it is imported already, it is what imports it that ends the test.
    """
    folder = tmp_path / 'no_tensorflow'
    folder.mkdir()
    (folder / 'tensorflow.py').write_text('import os\nos._exit(99)\n')
    monkeypatch.setenv('PYTHONPATH', f'{folder}{os.pathsep}{os.environ.get("PYTHONPATH", "")}')
    monkeypatch.setattr('gpt2.runtime.start', lambda *_, **__: pytest.fail('TensorFlow starts'))
