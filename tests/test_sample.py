import gc
import os

import numpy as np
import pytest
import tensorflow as tf

from conftest import DATA
from gpt2 import sample, steps
from gpt2.checkpoint import load_params
from gpt2.errors import UserError
from gpt2.model import HParams, model
from gpt2.model_folder import load_hparams
from gpt2.options import SamplingOptions
from gpt2.params import flatten, init_params
from gpt2.sample import generate, sample_sequence, top_k_logits, top_p_logits

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


def tokens(pieces):
    """All that `generate` yields: int32 [batch, n]."""
    return np.concatenate([piece.tokens for piece in pieces], axis=1)


def drawn(params, numbers, seed):
    options = SamplingOptions(length=20, seed=seed)
    contexts = [[3, 4]] * len(numbers)
    return tokens(generate(params, HPARAMS, contexts, options, numbers=numbers)).tolist()


def test_a_sample_depends_on_the_seed_and_its_number_alone(params):
    four = drawn(params, range(4), seed=1)
    assert len(set(map(tuple, four))) == 4
    for numbers in ([0], [2], [3, 1], [1, 1, 0]):
        assert drawn(params, numbers, seed=1) == [four[number] for number in numbers]
    assert drawn(params, range(4), seed=2) != four
    assert drawn(params, range(4), seed=None) != drawn(params, range(4), seed=None)


def test_yields_the_tokens_as_they_come(params):
    contexts = [[3, 4], [5, 6]]
    options = SamplingOptions(length=21, seed=1)
    pieces = list(generate(params, HPARAMS, contexts, options))
    assert len(pieces) > 1 and all(piece.tokens.dtype == np.int32 for piece in pieces)
    out = sample_sequence(params, hparams=HPARAMS, context=contexts, length=21, seed=1)
    assert np.array_equal(tokens(pieces), out[:, 2:])


def test_contexts_of_different_lengths_side_by_side(params):
    """Each as alone, whatever stands beside it, to the end of the context."""
    random = np.random.default_rng(3)
    contexts = [random.integers(0, 512, n) for n in (1, 34, 2, 20)]
    for options in (SamplingOptions(length=31, temperature=0), SamplingOptions(length=31, seed=4)):
        together = tokens(generate(params, HPARAMS, contexts, options))
        for number, context in enumerate(contexts):
            alone = tokens(generate(params, HPARAMS, [context], options, numbers=[number]))
            assert np.array_equal(together[number], alone[0])


def test_whoever_asks_may_stop_and_ask_anew(params):
    options = SamplingOptions(length=60, seed=1)
    whole = tokens(generate(params, HPARAMS, [[3]], options))
    for _ in range(2):
        first = next(generate(params, HPARAMS, [[3]], options)).tokens
        assert np.array_equal(first, whole[:, : first.shape[1]])


def test_log_probabilities_are_those_of_the_model(params):
    """Of the untruncated distribution, and the most probable tokens with theirs."""
    contexts = [[5, 6, 7], [8]]
    for options in ({'top_k': 3, 'seed': 1}, {'temperature': 0, 'repetition_penalty': 2.0}):
        options = SamplingOptions(length=30, logprobs=4, **options)
        pieces = list(generate(params, HPARAMS, contexts, options))
        drawn = tokens(pieces)
        logs = np.concatenate([piece.log_probs for piece in pieces], axis=1)
        best, best_logs = (
            np.concatenate([piece.best[i] for piece in pieces], axis=1) for i in range(2)
        )
        for row, context in enumerate(contexts):
            ids = np.concatenate([context, drawn[row]])[None]
            expected = tf.nn.log_softmax(model(params, HPARAMS, ids)['logits'])
            expected = expected[0, len(context) - 1 : -1].numpy()
            at = np.arange(30), drawn[row]
            np.testing.assert_allclose(logs[row], expected[at], atol=1e-4)
            order = np.argsort(-expected, axis=-1)[:, :4]
            assert np.array_equal(best[row], order)
            np.testing.assert_allclose(
                best_logs[row], np.take_along_axis(expected, order, -1), atol=1e-4
            )
            told = best[row] == drawn[row][:, None]
            assert np.array_equal(
                best_logs[row][told], np.repeat(logs[row][:, None], 4, 1)[told]
            )  # the same float
            assert told.any()


def test_rows_beyond_the_context_are_as_alone(params):
    """With penalties that count the whole text, and rows that slide at other times."""
    random = np.random.default_rng(11)
    contexts = [random.integers(0, 512, n).tolist() for n in (1, 64, 30)]
    options = SamplingOptions(
        length=90, seed=3, repetition_penalty=1.2, no_repeat_ngram_size=2, frequency_penalty=0.3
    )
    together = tokens(generate(params, HPARAMS, contexts, options))
    for number, context in enumerate(contexts):
        alone = tokens(generate(params, HPARAMS, [context], options, numbers=[number]))
        assert np.array_equal(together[number], alone[0])
        text = [*context, *alone[0].tolist()]
        pairs = list(zip(text, text[1:], strict=False))[len(context) - 1 :]
        assert len(set(pairs)) == len(pairs)  # none twice, from the first drawn on


@pytest.mark.parametrize('keep, keep_prompt', [(None, False), (8, False), (20, True), (63, False)])
def test_beyond_the_context(params, keep, keep_prompt):
    """The tokens that computing the whole window anew at each step gives, of each row by itself."""
    random = np.random.default_rng(7)
    contexts = [random.integers(0, 512, n).tolist() for n in (3, 40, 17)]
    options = SamplingOptions(length=150, temperature=0, keep=keep, keep_prompt=keep_prompt)
    found = tokens(generate(params, HPARAMS, contexts, options))
    assert found.shape == (3, 150)
    for row, context in zip(found.tolist(), contexts, strict=True):
        window, text = list(context), list(context)
        for token in row:
            if len(window) > HPARAMS.n_ctx:
                kept = keep or 32
                first = min(len(context), (HPARAMS.n_ctx - kept) // 2) if keep_prompt else 0
                window = text[:first] + text[-kept:]
            logits = model(params, HPARAMS, [window])['logits'][0, -1]
            assert token == int(tf.argmax(logits))
            window.append(token)
            text.append(token)


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
        traces = [f.experimental_get_tracing_count() for f in (steps.forward, steps.feed)]
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
    for function, most in ((steps.forward, 2), (steps.feed, 2)):
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
        ({'length': 0}, 'length is from 1 to 10000000, not 0'),
        ({'seed': -1}, 'seed is at least 0, not -1'),
        ({'context': [1] * 65}, '65 tokens are more than the 64 of the context'),
        ({'context': []}, 'the context is empty'),
        ({'context': [512]}, 'ids outside 0 to 511'),
        ({'context': np.array([2**40])}, 'ids outside 0 to 511'),
        ({'context': [1.5]}, r'a row of ids, as in \[15496, 995\], not \[1.5\]'),
        ({'context': 'abc'}, "a row of ids, .*, not 'abc'"),
        ({'context': ['a']}, r"a row of ids, .*, not \['a'\]"),
        ({'context': 5}, 'a row of ids, .*, not 5'),
        ({'context': {1: 2}}, 'a row of ids, .*, not {1: 2}'),
        ({'context': [[1, 2], [3]]}, 'rows of a context are of one length here'),
        ({'context': np.zeros([2, 2, 2], int)}, 'a row of ids'),
        ({'batch_size': '2'}, "batch_size is a whole number, from 1 to 65536, not '2'"),
        ({'context': [-1]}, 'ids outside 0 to 511'),
    ],
)
def test_options_out_of_range(params, options, sentence):
    options = {'length': 5, 'context': [1]} | options
    with pytest.raises(UserError, match=sentence):
        sample_sequence(params, hparams=HPARAMS, **options)
