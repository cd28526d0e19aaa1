"""Penalties and truncations beside Transformers' own figures: benchmarks/decoding.py --keep."""

import numpy as np
import pytest
import tensorflow as tf

from conftest import DATA
from gpt2 import processors, sample
from gpt2.options import SamplingOptions
from gpt2.steps import Written

FIGURES = np.load(DATA / 'processors.npz')
CASES = sorted({name.rpartition('/')[0] for name in FIGURES})
TRUNCATIONS = ('top_k', 'top_p', 'min_p', 'typical_p')


def written(ids, start=5):
    ids = np.asarray(ids, np.int32)
    n = tf.fill([len(ids)], ids.shape[1])
    padded = tf.constant(np.pad(ids, [[0, 0], [0, 3]]))
    return Written(padded, tf.fill([len(ids)], start), n, tf.zeros([len(ids), 0]), ())


def processed(options, logits, ids, start=5):
    settings = processors.settings_of(SamplingOptions(**options), logits.shape[1])

    @tf.function(jit_compile=True)
    def process(logits):
        scores = processors.penalised(logits, written(ids, start), settings)
        return sample.truncated(scores, settings)

    return process(tf.constant(logits, tf.float32)).numpy()


@pytest.mark.parametrize('case', CASES)
def test_figures_of_transformers(case):
    name, value = case.split('/')
    value = int(value) if name in ('top_k', 'no_repeat_ngram_size') else float(value)
    logits, ids, expected = (FIGURES[f'{case}/{x}'] for x in ('logits', 'ids', 'expected'))
    found = processed({name: {3: value} if name == 'logit_bias' else value}, logits, ids)
    assert np.array_equal(found < -1e9, expected < -1e9)
    assert name not in TRUNCATIONS or 0 < (expected < -1e9).mean() < 1
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_frequency_and_presence_look_at_the_sample_alone():
    """OpenAI's formula: logit - count * frequency - (count > 0) * presence."""
    ids = [[1, 1, 2, 3, 3, 1, 4, 4, 4], [5, 5, 5, 5, 5, 6, 7, 8, 9]]
    logits = np.random.default_rng(0).normal(size=[2, 12]).astype(np.float32)
    counts = np.array([np.bincount(row[5:], minlength=12) for row in ids])
    options = {'frequency_penalty': 0.5, 'presence_penalty': -0.25}
    expected = logits - 0.5 * counts + 0.25 * (counts > 0)
    np.testing.assert_allclose(processed(options, logits, ids), expected, rtol=1e-6)
    options = {'frequency_penalty': 2.0}
    np.testing.assert_allclose(processed(options, logits, ids), logits - 2 * counts, rtol=1e-6)


def test_rows_of_different_lengths():
    """What stands behind a row's n is no token of it."""
    rows = written([[1, 2, 1, 2], [3, 4, 0, 0]], 1)._replace(n=tf.constant([4, 2]))
    settings = processors.settings_of(SamplingOptions(temperature=0, no_repeat_ngram_size=2), 6)
    found = processors.penalised(tf.zeros([2, 6]), rows, settings).numpy()
    assert [np.flatnonzero(row < -1e9).tolist() for row in found] == [[1], []]
    settings = processors.settings_of(SamplingOptions(temperature=0, repetition_penalty=2.0), 6)
    found = processors.penalised(tf.ones([2, 6]), rows, settings).numpy()
    assert [np.flatnonzero(row < 1).tolist() for row in found] == [[1, 2], [3, 4]]


def test_all_at_once_in_transformers_order():
    """Bias, repetition, frequency, temperature, top_k; and what truncates, one after the other."""
    logits = np.array([[4.2, 3.0, 2.5, 2.1, 1.3, -1.0]], np.float32)
    ids = [[9 % 6, 0, 0, 1, 5, 0, 5]]
    options = {
        'logit_bias': {1: 2.0},
        'repetition_penalty': 2.0,
        'frequency_penalty': 1.0,
        'temperature': 0.5,
        'top_k': 4,
    }
    biased = logits[0] + [0, 2, 0, 0, 0, 0]
    seen = [0, 1, 3, 5]
    biased[seen] = np.where(biased[seen] < 0, biased[seen] * 2, biased[seen] / 2)
    biased[[0, 5]] -= 1  # each once among the last two, which were drawn
    expected = biased / 0.5
    expected[np.argsort(expected)[:2]] = -1e10
    np.testing.assert_allclose(processed(options, logits, ids)[0], expected, rtol=1e-6)


def test_truncations_come_one_after_the_other():
    """Each looks at what the one before has left: in another order other tokens would stay."""
    probs = np.array([[0.4, 0.2, 0.15, 0.1, 0.06, 0.05, 0.04]])
    logits, ids = np.log(probs), [[0]]
    kept = np.flatnonzero(processed({'top_k': 4, 'top_p': 0.75}, logits, ids, 1)[0] > -1e9)
    assert kept.tolist() == [0, 1]  # of 0.85: 0.47 and 0.71
    kept = np.flatnonzero(processed({'top_p': 0.8, 'min_p': 0.3}, logits, ids, 1)[0] > -1e9)
    assert kept.tolist() == [0, 1, 2]
    logits, ids = np.random.default_rng(0).normal(0, 2, [30, 20]), [[0]] * 30
    for one, two in (('top_p', 'typical_p'), ('min_p', 'typical_p'), ('top_p', 'min_p')):
        share = {'top_p': 0.8, 'min_p': 0.05, 'typical_p': 0.7}
        one, two = {one: share[one]}, {two: share[two]}
        kept = processed(one | two, logits, ids, 1) > -1e9
        in_order = processed(two, processed(one, logits, ids, 1), ids, 1) > -1e9
        other = processed(one, processed(two, logits, ids, 1), ids, 1) > -1e9
        assert np.array_equal(kept, in_order) and not np.array_equal(kept, other)


def test_nothing_is_in_the_settings_that_is_not_asked_for():
    assert set(processors.settings_of(SamplingOptions(), 6)) == {'temperature'}
    assert processors.settings_of(SamplingOptions(temperature=0), 6) == {}
    every = {'min_p': 0.1, 'presence_penalty': 1, 'top_p': 0.5, 'top_k': 3}
    assert set(processors.settings_of(SamplingOptions(**every), 6)) == {'temperature', *every}


@pytest.mark.parametrize('shape', [(1, 7), (3, 50257)])
def test_least_float_is_the_least(shape):
    values = np.abs(np.random.default_rng(1).normal(size=shape)).astype(np.float32)
    values[0, 0] = 1e10  # whose bits' sum with others' is above an int32
    for share in (0.0, 0.3, 1.0):
        limit = np.quantile(values, share, axis=1, keepdims=True, method='lower')
        found = processors.least_float(lambda x, limit=limit: x >= limit, values).numpy()
        assert np.array_equal(found, limit)
