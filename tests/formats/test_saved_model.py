"""A SavedModel: what TensorFlow alone computes by it is what this package does."""

import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

import gpt2
from conftest import ROOT
from gpt2.formats.uniforms import uniforms
from gpt2.options import SamplingOptions
from gpt2.sample import draw_uniforms, generate

DATA = ROOT / 'models' / 'demo' / 'model.ckpt.data-00000-of-00001'
ALONE = """
import sys, numpy as np, tensorflow as tf
model = tf.saved_model.load(sys.argv[1])
ids = np.load(sys.argv[2])
found = model.signatures['generate'](
    ids=tf.constant(ids), length=tf.constant(12), temperature=tf.constant(0.8),
    top_k=tf.constant(0), top_p=tf.constant(0.9), seed=tf.constant(7, tf.int64))
logits = model.signatures['logits'](ids=tf.constant(ids))
np.savez(sys.argv[3], ids=found['ids'], logits=logits['logits'])
assert not [name for name in sys.modules if name.startswith('gpt2')]
"""


@pytest.fixture(scope='module')
def demo():
    return gpt2.load('demo', precision='float32')


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    from gpt2.formats.saved_model import to_saved_model

    folder = tmp_path_factory.mktemp('saved') / 'demo'
    to_saved_model(gpt2.find('demo'), folder)
    return folder


@pytest.fixture(scope='module')
def saved(folder):
    return tf.saved_model.load(str(folder))


def ask(saved, ids, length, temperature=1.0, top_k=0, top_p=1.0, seed=1):
    given = {
        'ids': tf.constant(ids, tf.int32),
        'length': tf.constant(length),
        'temperature': tf.constant(temperature, tf.float32),
        'top_k': tf.constant(top_k),
        'top_p': tf.constant(top_p, tf.float32),
        'seed': tf.constant(seed, tf.int64),
    }
    return saved.signatures['generate'](**given)['ids'].numpy()


def expected(demo, ids, length, **options):
    pieces = generate(demo.params, demo.hparams, ids, SamplingOptions(length=length, **options))
    return np.concatenate([ids, *(piece.tokens for piece in pieces)], axis=1)


@pytest.mark.parametrize('seed', [0, 1, 2**32 - 1, 2**32, 2**63 - 1])
@pytest.mark.parametrize('batch, length', [(1, 1), (3, 16), (2, 77)])
def test_uniform_numbers_are_numpys(seed, batch, length):
    found = uniforms(tf.constant(seed, tf.int64), tf.constant(batch), tf.constant(length))
    assert (found.numpy() == draw_uniforms(seed, range(batch), length)).all()


@pytest.mark.parametrize(
    'options',
    [
        {'temperature': 0},
        {'temperature': 0.7, 'top_k': 400, 'top_p': 0.9, 'seed': 2**40},
    ],
    ids=str,
)
def test_samples_are_those_of_this_package(demo, saved, options):
    ids = np.array([demo.enc.encode('JULIET:\nO')] * 2, np.int32)
    options = {'seed': 1} | options
    assert (ask(saved, ids, 30, **options) == expected(demo, ids, 30, **options)).all()


def test_from_one_token_to_beyond_the_context(demo, saved):
    ids = np.array([[demo.enc.end_of_text]], np.int32)
    assert (ask(saved, ids, 300) == expected(demo, ids, 300, seed=1)).all()


def test_logits_of_any_batch_and_length(demo, saved):
    random = np.random.default_rng(0)
    for shape in ((1, 1), (3, 7), (1, 256)):
        ids = random.integers(0, 1024, shape).astype(np.int32)
        found = saved.signatures['logits'](ids=tf.constant(ids))['logits'].numpy()
        own = np.stack([demo.logits(row) for row in ids])
        assert np.abs(found - own).max() < 1e-3
    with pytest.raises(tf.errors.InvalidArgumentError, match='n_vocab|is not in'):
        saved.signatures['logits'](ids=tf.constant([[1024]]))
    with pytest.raises(tf.errors.InvalidArgumentError, match='a seed below 0'):
        ask(saved, [[1]], 2, seed=-1)


def test_in_a_process_without_this_package(demo, folder, saved, tmp_path):
    ids = np.array([demo.enc.encode('ROMEO:\n')] * 2, np.int32)
    np.save(tmp_path / 'ids.npy', ids)
    words = [folder, tmp_path / 'ids.npy', tmp_path / 'out.npz']
    subprocess.run([sys.executable, '-I', '-c', ALONE, *map(str, words)], check=True)
    out = np.load(tmp_path / 'out.npz')
    assert (out['ids'] == ask(saved, ids, 12, temperature=0.8, top_p=0.9, seed=7)).all()
    assert out['logits'].shape == (2, ids.shape[1], 1024)


def test_its_size_is_that_of_the_weights_once(folder):
    size = sum(path.stat().st_size for path in folder.rglob('*') if path.is_file())
    assert size < DATA.stat().st_size + 1e6
