"""The GPU's branches, on a CPU: TensorFlow is made to name a GPU, and computes where it can."""

import functools
import itertools
import os
import stat

import numpy as np
import pytest
import tensorflow as tf

from conftest import DATA, ROOT, load_tiny, new_trainer, steps, write_model
from gpt2 import fast, runtime
from gpt2.checkpoint import load_params
from gpt2.errors import UserError
from gpt2.evaluation.score import Scorer
from gpt2.hparams import HParams
from gpt2.model import hidden, model, predict
from gpt2.model_folder import load_hparams
from gpt2.options import SamplingOptions
from gpt2.params import flatten
from gpt2.sample import generate, sample_sequence
from gpt2.training import loss as training_loss
from gpt2.weights import for_sampling
from terminal import Terminal

PRECISIONS = ('float32', 'bfloat16', 'float16')

# What a script's process is told by sitecustomize: one GPU, of this capability.
BELIEVE = """
import importlib.abc, importlib.util, sys

class Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name != 'tensorflow':
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        run = spec.loader.exec_module
        def exec_module(module):
            run(module)
            gpu = module.config.PhysicalDevice('/physical_device:GPU:0', 'GPU')
            listed = module.config.list_physical_devices
            module.config.list_physical_devices = lambda kind=None: (
                [gpu] if kind == 'GPU' else listed(kind)
            )
            details = {'device_name': 'Believed', 'compute_capability': CAPABILITY}
            module.config.experimental.get_device_details = lambda gpu: details
        spec.loader.exec_module = exec_module
        return spec

sys.meta_path.insert(0, Finder())
"""


def believe(monkeypatch, capability):
    named = [tf.config.PhysicalDevice('/physical_device:GPU:0', 'GPU')]
    details = {'device_name': 'Believed', 'compute_capability': capability}
    listed = tf.config.list_physical_devices
    monkeypatch.setattr(
        tf.config,
        'list_physical_devices',
        lambda kind=None: named if kind == 'GPU' else listed(kind),
    )
    monkeypatch.setattr(tf.config.experimental, 'get_device_details', lambda gpu: details)
    assert fast.on_gpu()


@pytest.fixture(params=[(7, 5), (9, 0)], ids=str)
def gpu(request, monkeypatch):
    """TensorFlow names one GPU."""
    believe(monkeypatch, request.param)


@pytest.fixture
def believing(tmp_path, monkeypatch):
    """The environment of a script that believes in a GPU of a capability."""

    def believing(capability):
        folder = tmp_path / 'believe'
        folder.mkdir(exist_ok=True)
        code = BELIEVE.replace('CAPABILITY', str(capability))
        (folder / 'sitecustomize.py').write_text(code)
        path = os.pathsep.join([str(folder), os.environ.get('PYTHONPATH', '')])
        return os.environ | {'PYTHONPATH': path}

    return believing


@functools.cache  # what is compiled for them is compiled once
def load(precision, n_layer=3):
    return load_tiny(for_sampling(precision), n_layer)


@pytest.fixture
def small(tmp_path):
    """models/small, soon compiled."""
    write_model(tmp_path / 'models' / 'small', HParams(1024, 64, 16, 2, 1))
    return 'small'


@pytest.mark.parametrize('precision', PRECISIONS)
def test_every_way_to_sample(gpu, golden, precision):
    # All blocks where OpenAI's figures are compared.
    params, hparams = load(precision, 3 if precision == 'float32' else 1)
    ways = {'greedy': {'temperature': 0}, 'top_k': {'top_k': 40}, 'top_p': {'top_p': 0.9}}
    begins = {'start': {'start_token': 7}, 'prompt': {'context': golden['greedy'][0, :5]}}
    for begin, way, batch in itertools.product(begins, ways, (1, 8)):
        options = {'hparams': hparams, 'length': 20, 'seed': 1, 'batch_size': batch}
        options |= begins[begin] | ways[way]
        whole = sample_sequence(params, **options).numpy()
        context = begins[begin].get('context', [7])
        pieces = generate(
            params, hparams, [context] * batch, SamplingOptions(length=20, seed=1, **ways[way])
        )
        assert whole.shape == (batch, 20 + len(np.atleast_1d(next(iter(begins[begin].values())))))
        drawn = np.concatenate([piece.tokens for piece in pieces], axis=1)
        assert np.array_equal(drawn, whole[:, -20:])
        assert whole.min() >= 0 and whole.max() < hparams.n_vocab
        assert way == 'greedy' or batch == 1 or len(np.unique(whole, axis=0)) == batch
        if (precision, begin, way) == ('float32', 'prompt', 'greedy'):
            assert np.array_equal(whole, [golden['greedy'][0, :25]] * batch)


def test_the_originals_numbers_in_float32(gpu, golden):
    (params, hparams), tokens = load('float32'), golden['tokens']
    out = model(params, hparams, tokens)
    np.testing.assert_allclose(out['logits'], golden['logits'], rtol=0, atol=1e-4)
    np.testing.assert_allclose(out['present'], golden['present'], rtol=0, atol=1e-4)
    past = model(params, hparams, tokens[:, :13])['present']
    rest = model(params, hparams, tokens[:, 13:], past=past)['logits']
    np.testing.assert_allclose(rest, golden['logits_with_past'], rtol=0, atol=1e-4)
    greedy = golden['greedy']
    out = sample_sequence(params, hparams=hparams, length=48, context=greedy[:, :5], temperature=0)
    assert np.array_equal(out, greedy)


def demo(precision):
    """The demo with all logits lower by 100, as GPT-2's own are about there."""
    folder = ROOT / 'models' / 'demo'
    hparams = load_hparams(folder)

    def shifted(name, value):
        if name == 'wte':
            value = tf.concat([tf.ones_like(value[:, :1]), value[:, 1:]], axis=1)
        if name in ('ln_f/g', 'ln_f/b'):
            value = tf.concat([[0.0 if name == 'ln_f/g' else -100.0], value[1:]], axis=0)
        return for_sampling(precision)(name, value)

    return load_params(folder, hparams, shifted), hparams


@functools.cache
def context():
    """Two of the demo's own texts."""
    params, hparams = demo('float32')
    options = {'start_token': 0, 'length': 255, 'seed': 1, 'batch_size': 2}
    return sample_sequence(params, hparams=hparams, **options)


def divergence(rows, precision):
    """The mean KL divergence of `precision` from float32, and the share of other arg-maxes."""
    logits = []
    for kind in ('float32', precision):
        params, hparams = demo(kind)
        h, _ = hidden(params, hparams, context()[:, :rows])
        logits.append(tf.nn.log_softmax(predict(params, h)))
        assert -200 < float(predict(params, h)[0, 0, 0]) < -50
    exact, low = logits
    kl = tf.reduce_mean(tf.reduce_sum(tf.exp(exact) * (exact - low), axis=-1))
    return float(kl), float(
        tf.reduce_mean(tf.cast(tf.argmax(exact, -1) != tf.argmax(low, -1), float))
    )


@pytest.mark.parametrize('rows', [40, 255], ids=['few rows', 'many rows'])
@pytest.mark.parametrize('precision, limit', [('bfloat16', 1e-4), ('float16', 1e-6)])
def test_logits_are_never_rounded(gpu, rows, precision, limit):
    kl, other = divergence(rows, precision)
    assert 0 < kl < limit and other < 0.03  # rounded, it is 0.12


@pytest.mark.parametrize('rows', [40, 255], ids=['few rows', 'many rows'])
def test_nor_are_they_on_a_cpu(rows):
    kl, other = divergence(rows, 'bfloat16')
    assert 0 < kl < 1e-4 and other < 0.03  # rounded, it is 0.12


@pytest.mark.parametrize('precision', PRECISIONS)
def test_parameters_are_put_on_the_gpu_one_by_one(gpu, monkeypatch, precision):
    placed, device = [], tf.device

    def note(name):
        placed.append(name)
        return device(name)

    monkeypatch.setattr(tf, 'device', note)
    flat = flatten(load.__wrapped__(precision)[0])
    assert placed == ['GPU:0'] * len(flat)
    low = {name for name, value in flat.items() if value.dtype == precision}
    assert precision == 'float32' or low == {n for n in flat if n == 'wte' or n.endswith('/w')}


@pytest.mark.parametrize(
    'precision, saving', [('float32', False), ('bfloat16', True), ('float16', False)]
)
def test_the_compiled_training_step_is_the_one_of_the_cpu(monkeypatch, precision, saving):
    batches = dict(np.load(DATA / 'training.npz'))['batches'][:6, None]
    options = {'precision': precision, 'memory_saving_gradients': saving, 'dropout': 0.1, 'seed': 3}
    monkeypatch.setattr(training_loss, 'SLICE', 25)  # of 62 positions: three slices of the logits
    monkeypatch.setattr(training_loss, 'SMALL_SLICE', 25)
    plain = new_trainer(n_layer=1, **options)
    expected = steps(plain, batches, 1e-3)
    believe(monkeypatch, (9, 0))
    compiled = new_trainer(n_layer=1, **options)
    losses = steps(compiled, batches, 1e-3)
    np.testing.assert_allclose(losses, expected, rtol=1e-5 if precision == 'float32' else 2e-3)
    tokens = tf.constant(batches[0, 0])
    np.testing.assert_allclose(compiled.loss(tokens), plain.loss(tokens), rtol=2e-3)


@pytest.mark.parametrize('precision', PRECISIONS)
def test_scores(gpu, golden, precision):
    exact = Scorer(*load('float32'), 2)
    requests = [(row[:3], row[3:]) for row in golden['tokens'].tolist()]
    requests += [(requests[0][0], [5, 6, 7]), (requests[0][0], [8, 9])]  # of one context
    logits = golden['logits'][:, 2:-1]
    for (logs, _), row, (_, after) in zip(exact.score(requests), logits, requests, strict=False):
        expected = tf.gather(tf.nn.log_softmax(row), after, batch_dims=1)
        np.testing.assert_allclose(logs, expected, rtol=0, atol=1e-4)
    low = Scorer(*load(precision), 2).score(requests)
    for (logs, _), (expected, _) in zip(low, exact.score(requests), strict=True):
        np.testing.assert_allclose(logs, expected, atol=0.1)


@pytest.mark.parametrize('precision', PRECISIONS)
def test_the_scripts(run, small, monkeypatch, precision):
    flags = ['--model_name', small, '--length', '40', '--seed', '1', '--precision', precision]
    believe(monkeypatch, (7, 5))
    done = run('generate_unconditional_samples.py', *flags, '--nsamples', '1')
    told = (
        'bfloat16 is no faster than float32 on Believed; float16 is\n'
        if precision == 'bfloat16'
        else ''
    )
    assert (done.returncode, done.stderr) == (0, told)
    assert len(done.stdout) > 120
    believe(monkeypatch, (9, 0))
    done = run('interactive_conditional_samples.py', *flags, input='ROMEO:\n')
    assert (done.returncode, done.stderr) == (0, '')
    assert done.stdout.count('SAMPLE 1') == 1


def test_a_process_of_the_scripts(process, believing):
    flags = ['--model_name', 'demo', '--length', '5', '--precision', 'bfloat16', '--nsamples', '1']
    done = process('generate_unconditional_samples.py', *flags, env=believing((7, 5)))
    told = 'bfloat16 is no faster than float32 on Believed; float16 is\n'
    assert (done.returncode, done.stderr) == (0, told)


@pytest.mark.parametrize('said, kind', [(None, 'TF32'), ('0', 'float32')])
def test_training_says_in_what_it_computes(run, small, monkeypatch, tmp_path, said, kind):
    (tmp_path / 'text.txt').write_text('to be or not to be ' * 50)
    flags = ['--dataset', 'text.txt', '--model_name', small, '--max_steps', '1']
    flags += ['--sample_every=0', '--context_length', '16']
    believe(monkeypatch, (9, 0))
    if said:
        monkeypatch.setenv('GPT2_TF32', said)
    done = run('train.py', *flags)
    assert done.returncode == 0
    assert done.stderr == f'Training on Believed; float32 products are computed in {kind}\n'


def test_a_terminal_is_told_the_card_and_its_free_memory(believing, tmp_path, monkeypatch):
    smi = tmp_path / 'bin' / 'nvidia-smi'
    smi.parent.mkdir()
    smi.write_text('#!/bin/sh\n[ "$3" = --id=2 ] && echo 39117\n')
    smi.chmod(smi.stat().st_mode | stat.S_IXUSR)
    environment = believing((9, 0)) | {'CUDA_VISIBLE_DEVICES': '2,3'}
    for name in ('PYTHONPATH', 'CUDA_VISIBLE_DEVICES'):
        monkeypatch.setenv(name, environment[name])
    monkeypatch.setenv('PATH', f'{smi.parent}{os.pathsep}{os.environ["PATH"]}')
    flags = ['--model_name', 'demo', '--length', '5', '--nsamples', '1']
    terminal = Terminal(ROOT / 'generate_unconditional_samples.py', *flags, cwd=tmp_path)
    assert terminal.end() == 0
    assert terminal.text.count('Computing on Believed, 38.2 GiB free') == 1


@pytest.mark.parametrize(
    'said, sampling, training', [('', False, True), ('1', True, True), ('0', False, False)]
)
def test_tf32_is_off_but_where_it_is_asked_for(monkeypatch, said, sampling, training):
    monkeypatch.setenv('GPT2_TF32', said)
    state = tf.config.experimental.tensor_float_32_execution_enabled
    was = state()
    try:
        runtime.start()
        assert state() is sampling
        runtime.start(training=True)
        assert state() is training
    finally:
        tf.config.experimental.enable_tensor_float_32_execution(was)


def test_tf32_that_is_neither_on_nor_off(monkeypatch):
    monkeypatch.setenv('GPT2_TF32', 'yes')
    with pytest.raises(UserError, match="GPT2_TF32 is 0 or 1, not 'yes'; run: unset GPT2_TF32"):
        runtime.start()


def test_xla_holds_one_slice_of_logits_and_recomputes(process):
    """By its own buffer assignment; before the slices were a loop, it held them all."""
    flags = ['--n_layer', '1', '--n_embd', '48', '--n_head', '4', '--length', '1024']
    done = process('benchmarks/training_memory.py', *flags, '--precisions', 'float32')
    assert done.returncode == 0, done.stderr
    rows = [row.strip('|').split('|') for row in done.stdout.splitlines()[2:]]
    (plain, places), (saving, saving_places) = (map(int, row[2:]) for row in rows)
    assert places == saving_places == 2  # the logits, and their gradient
    assert saving < plain / 2
