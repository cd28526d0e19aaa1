import gc
import os

import numpy as np
import pytest
import tensorflow as tf

from conftest import DATA
from gpt2 import sample
from gpt2.checkpoint import load_params
from gpt2.errors import UserError
from gpt2.model import HParams, model
from gpt2.model_folder import load_hparams
from gpt2.options import SamplingOptions
from gpt2.params import flatten, init_params
from gpt2.sample import (
    generate,
    sample_sequence,
    samples,
    top_k_logits,
    top_p_logits,
)

HPARAMS = load_hparams(DATA / 'tiny-random')
SMALL = HParams(n_vocab=8, n_ctx=8, n_embd=8, n_head=2, n_layer=1)


@pytest.fixture(scope='module')
def params():
    return load_params(DATA / 'tiny-random', HPARAMS)


@pytest.fixture(scope='module')
def small():
    """A model of 8 tokens with opinions."""
    params = init_params(SMALL, seed=5)
    flatten(params)['wte'].assign(tf.random.stateless_normal([8, 8], [1, 2], stddev=0.2))
    return params


@pytest.mark.parametrize('k', [1, 2, 5, 40])
def test_top_k_logits_of_the_original(golden, k):
    logits, expected = golden['trunc_in'], golden[f'top_k_{k}']
    assert np.array_equal(top_k_logits(logits, k), expected)
    for row, truncated in zip(logits, expected, strict=True):
        assert np.array_equal(top_k_logits(row[None], k), truncated[None])


@pytest.mark.parametrize('p', ['0.0', '0.1', '0.5', '0.9', '0.99', '1.0'])
def test_top_p_logits_of_the_original(golden, p):
    logits, expected = golden['trunc_in'], golden[f'top_p_{p}']
    assert np.array_equal(top_p_logits(logits, float(p)), expected)
    for row, truncated in zip(logits, expected, strict=True):
        assert np.array_equal(top_p_logits(row[None], float(p)), truncated[None])


def test_top_k_beyond_the_vocabulary_keeps_all(golden):
    for k in (0, 40, 1000):
        assert np.array_equal(top_k_logits(golden['trunc_in'], k), golden['trunc_in'])


@pytest.mark.parametrize(
    'options', [{'top_k': 1}, {'temperature': 0}, {'temperature': 1e-39}, {'top_p': 0}]
)
def test_greedy_output_of_the_original(params, golden, options):
    expected = golden['greedy']
    out = sample_sequence(params, hparams=HPARAMS, length=48, context=expected[:, :5], **options)
    assert out.dtype == tf.int32
    assert np.array_equal(out, expected)


@pytest.mark.parametrize('n', [1, 2, 31, 32, 33, 63, 64])
def test_greedy_output_is_that_of_an_uncached_pass(params, golden, n):
    """At prompts on either side of each size class, to the end of the context."""
    context = golden['tokens_full_context'][:, :n]
    length = HPARAMS.n_ctx + 1 - n
    out = sample_sequence(params, hparams=HPARAMS, length=length, context=context, temperature=0)
    assert out.shape == (2, HPARAMS.n_ctx + 1)
    assert np.array_equal(out[:, :n], context)
    logits = model(params, HPARAMS, out[:, :-1])['logits']
    assert np.array_equal(out[:, n:], np.argmax(logits, axis=-1)[:, n - 1 :])


def test_start_token_and_context(params):
    options = {'hparams': HPARAMS, 'length': 4, 'seed': 1}
    started = sample_sequence(params, start_token=7, batch_size=2, **options)
    given = sample_sequence(params, context=[[7], [7]], **options)
    assert started.shape == (2, 5)
    assert np.array_equal(started, given)
    assert np.array_equal(sample_sequence(params, context=[7], batch_size=2, **options), given)
    for wrong in ({}, {'start_token': 7, 'context': [7]}):
        with pytest.raises(UserError, match='either a start_token or a context'):
            sample_sequence(params, **wrong, **options)


def drawn(params, nsamples, batch_size, seed):
    options = SamplingOptions(length=20, seed=seed)
    out = samples(params, HPARAMS, [3, 4], options, nsamples=nsamples, batch_size=batch_size)
    return [ids.tolist() for ids in out]


def test_a_sample_depends_on_the_seed_and_its_number_alone(params):
    four = drawn(params, 4, 4, seed=1)
    assert len({tuple(ids) for ids in four}) == 4
    for batch_size in (1, 2, 3, 9):
        assert drawn(params, 4, batch_size, seed=1) == four
    assert drawn(params, 3, 2, seed=1) == four[:3]
    assert drawn(params, 4, 4, seed=2) != four
    assert drawn(params, 4, 4, seed=None) != drawn(params, 4, 4, seed=None)


def test_yields_the_tokens_as_they_come(params):
    contexts = [[3, 4], [5, 6]]
    options = SamplingOptions(length=21, seed=1)
    pieces = list(generate(params, HPARAMS, contexts, options))
    assert len(pieces) > 1 and all(piece.dtype == np.int32 for piece in pieces)
    out = sample_sequence(params, hparams=HPARAMS, context=contexts, length=21, seed=1)
    assert np.array_equal(np.concatenate(pieces, axis=1), out[:, 2:])


def test_contexts_of_different_lengths_side_by_side(params):
    """Each as alone, whatever stands beside it, to the end of the context."""
    random = np.random.default_rng(3)
    contexts = [random.integers(0, 512, n) for n in (1, 34, 2, 20)]
    for options in (SamplingOptions(length=31, temperature=0), SamplingOptions(length=31, seed=4)):
        together = np.concatenate(list(generate(params, HPARAMS, contexts, options)), axis=1)
        for number, context in enumerate(contexts):
            alone = generate(params, HPARAMS, [context], options, first_sample=number)
            assert np.array_equal(together[number], np.concatenate(list(alone), axis=1)[0])


def test_whoever_asks_may_stop_and_ask_anew(params):
    options = SamplingOptions(length=60, seed=1)
    whole = np.concatenate(list(generate(params, HPARAMS, [[3]], options)), axis=1)
    for _ in range(2):
        first = next(generate(params, HPARAMS, [[3]], options))
        assert np.array_equal(first, whole[:, : first.shape[1]])


def test_no_end_when_nsamples_is_0(params):
    options = SamplingOptions(length=20, seed=1)
    out = samples(params, HPARAMS, [1], options, nsamples=0, batch_size=2)
    assert len({tuple(next(out)) for _ in range(7)}) == 7


@pytest.mark.parametrize(
    'options, allowed',
    [
        ({}, 8),
        ({'temperature': 0.5}, 8),
        ({'temperature': 3}, 8),
        ({'top_k': 3}, 3),
        ({'top_p': 0.6}, None),
        ({'top_k': 5, 'top_p': 0.7, 'temperature': 2}, None),
    ],
)
def test_draws_from_the_right_distribution(small, options, allowed):
    """A chi-squared test of the first two tokens of 20,000 samples."""
    n = 20_000
    out = sample_sequence(
        small, hparams=SMALL, length=2, start_token=1, batch_size=n, seed=0, **options
    ).numpy()
    logits = model(small, SMALL, [[1, token] for token in range(8)])['logits']

    def truncated(logits):
        logits = top_k_logits(logits / options.get('temperature', 1), options.get('top_k', 0))
        return tf.nn.softmax(top_p_logits(logits, options.get('top_p', 1.1))).numpy()

    first, second = truncated(logits[:1, 0]), truncated(logits[:, 1])
    expected = n * (first.T * second).ravel()
    counts = np.bincount(out[:, 1] * 8 + out[:, 2], minlength=64)
    possible = expected > 1e-6
    assert allowed in (None, np.sum(first > 1e-9))
    assert not counts[~possible].any()
    chi_squared = np.sum((counts - expected)[possible] ** 2 / expected[possible])
    freedom = possible.sum() - 1
    # Mean `freedom`, variance twice that: four deviations above is met once in some 10,000.
    assert freedom > 2 and chi_squared < freedom + 4 * (2 * freedom) ** 0.5


def test_no_uniform_number_draws_an_impossible_token():
    """Also where XLA's cumulative sum rises at a probability of 0: numbers at and around there."""
    logits = top_k_logits(tf.random.stateless_normal([4, 1000], [1, 2], stddev=4.0), 40)
    draw = tf.function(sample.draw, jit_compile=True)
    cumulative = tf.function(tf.cumsum, jit_compile=True)(tf.nn.softmax(logits), axis=-1).numpy()
    uniforms = np.concatenate([[2.0**-24, 1.0], np.unique(cumulative[0] / cumulative[0, -1])])
    for uniform in np.clip(np.concatenate([uniforms, np.nextafter(uniforms, 0)]), 2.0**-24, 1):
        drawn = draw(logits, tf.fill([4], tf.constant(uniform, tf.float32)))
        assert np.all(tf.gather(logits, drawn, batch_dims=1) > -1e9)


def memory():
    with open('/proc/self/statm') as file:
        return int(file.read().split()[1]) * os.sysconf('SC_PAGE_SIZE')


@pytest.mark.skipif(not os.path.exists('/proc/self/statm'), reason='reads Linux memory figures')
def test_repeated_calls_neither_trace_nor_grow(params):
    def call(seed):
        sample_sequence(
            params, hparams=HPARAMS, length=20, context=[1, 2, 3], seed=seed, top_k=seed % 2 * 40
        )

    def state():
        gc.collect()
        traces = [f.experimental_get_tracing_count() for f in (sample.forward, sample.draw_chunk)]
        return traces, len(gc.get_objects()), memory()

    for seed in range(20):
        call(seed)
    traces, objects, used = state()
    for seed in range(200):
        call(seed)
    traces_after, objects_after, used_after = state()
    assert traces_after == traces
    assert objects_after - objects < 200
    assert used_after - used < 4 * 2**20


def test_few_shapes_are_compiled(params):
    sample_sequence(params, hparams=HPARAMS, length=3, context=[1], seed=0)
    for function, most in ((sample.forward, 2), (sample.draw_chunk, 2)):
        before = function.experimental_get_tracing_count()
        for n in range(1, 60):
            sample_sequence(params, hparams=HPARAMS, length=3, context=[1] * n, seed=0)
        assert function.experimental_get_tracing_count() - before <= most


@pytest.mark.parametrize(
    'options, sentence',
    [
        ({'temperature': -1}, 'temperature is at least 0, not -1'),
        ({'temperature': float('nan')}, 'temperature is at least 0, not nan'),
        ({'top_k': -1}, 'top_k is at least 0, not -1'),
        ({'top_p': 1.5}, 'top_p is from 0 to 1, not 1.5'),
        ({'length': 0}, 'length is from 1 to 64, not 0'),
        ({'length': 65}, 'length is from 1 to 64, not 65'),
        ({'seed': -1}, 'seed is at least 0, not -1'),
        ({'length': 60, 'context': [1] * 10}, 'no room for 60 more; .* --length to 55 or less'),
        ({'context': [1] * 65}, '65 tokens are more than the 64 of the context'),
        ({'context': []}, 'the context is empty'),
        ({'context': [512]}, 'ids outside 0 to 511'),
        ({'context': [-1]}, 'ids outside 0 to 511'),
    ],
)
def test_options_out_of_range(params, options, sentence):
    options = {'length': 5, 'context': [1]} | options
    with pytest.raises(UserError, match=sentence):
        sample_sequence(params, hparams=HPARAMS, **options)
