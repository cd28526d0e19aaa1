import numpy as np
import pytest
import tensorflow as tf

from conftest import DATA
from gpt2 import weights
from gpt2.checkpoint import load_params
from gpt2.fast import linear
from gpt2.model import model
from gpt2.model_folder import load_hparams
from gpt2.params import flatten
from gpt2.sample import sample_sequence
from gpt2.weights import for_sampling

HPARAMS = load_hparams(DATA / 'tiny-random')


@pytest.mark.parametrize(
    'precision, tolerance', [('float32', 1e-5), ('bfloat16', 0.1), ('float16', 0.02), ('int8', 0.2)]
)
def test_logits_are_those_of_the_checkpoint(golden, precision, tolerance):
    params = load_params(DATA / 'tiny-random', HPARAMS, for_sampling(precision))
    logits = model(params, HPARAMS, golden['tokens'])['logits']
    assert logits.dtype == tf.float32
    difference = np.abs(logits - golden['logits']).max()
    assert difference < tolerance
    assert precision == 'float32' or difference > 1e-5  # it is really lower


@pytest.mark.parametrize('batch, sequence', [(1, 1), (2, 24), (2, 64)])
def test_bfloat16_products_of_one_few_and_many_rows(golden, batch, sequence):
    """Each way to multiply gives what float32 does with the same rounded parameters."""

    def rounded(name, value):
        whole = len(value.shape) == 1 or name == 'wpe'
        return value if whole else tf.cast(tf.cast(value, tf.bfloat16), tf.float32)

    tokens = golden['tokens_full_context'][:batch, :sequence]
    expected, logits = (
        model(load_params(DATA / 'tiny-random', HPARAMS, convert), HPARAMS, tokens)['logits']
        for convert in (rounded, for_sampling('bfloat16'))
    )
    np.testing.assert_allclose(logits, expected, atol=1e-5 if sequence == 1 else 0.1)


def test_types_and_shapes():
    flat = flatten(load_params(DATA / 'tiny-random', HPARAMS, for_sampling('bfloat16')))
    nx = HPARAMS.n_embd
    assert flat['h0/mlp/c_fc/w'].shape == (4 * nx, nx)
    assert {x.dtype for x in flat.values() if len(x.shape) == 1} == {tf.float32}
    assert flat['wpe'].dtype == tf.float32
    assert flat['wte'].dtype == flat['h1/attn/c_attn/w'].dtype == tf.bfloat16


def test_greedy_output_of_the_original(golden):
    params = load_params(DATA / 'tiny-random', HPARAMS, for_sampling())
    expected = golden['greedy']
    for rows in (expected, expected[:1]):
        out = sample_sequence(params, hparams=HPARAMS, length=48, context=rows[:, :5], top_k=1)
        assert np.array_equal(out, rows)


def test_int8_rows():
    matrix = tf.random.stateless_normal([9000, 3], [1, 2]).numpy()
    matrix[5] = 0
    rows, scale = weights.quantised(matrix)
    assert rows.dtype == np.int8 and rows.shape == matrix.shape
    assert {*np.abs(rows.astype(int)).max(1)} == {0, 127}
    assert np.all(np.abs(rows * scale[:, None] - matrix) <= scale[:, None] / 2 + 1e-6)


def test_weights_lie_side_by_side(monkeypatch):
    monkeypatch.setattr(weights, 'REGION', 4096)
    memory = weights.Memory()
    given = [
        (np.round(tf.random.stateless_normal(shape, [1, 2]) * 40), dtype)
        for dtype in (tf.int8, tf.bfloat16, tf.float16, tf.float32)
        for shape in ([3], [7, 11], [40, 50])
    ]
    held = [memory.hold(x, dtype) for x, dtype in given]
    places = [np.asarray(x).ctypes.data for x in held]
    del memory
    for (x, dtype), y in zip(given, held, strict=True):
        assert y.dtype == dtype and np.array_equal(x, tf.cast(y, tf.float32))
    assert all(place % 64 == 0 for place in places)
    assert 0 < places[1] - places[0] < 128 and 0 < places[4] - places[3] < 128


@pytest.mark.parametrize('precision', ['bfloat16', 'float16'])
@pytest.mark.parametrize('rows', [1, 3, 200])
def test_long_rows_are_cut_and_multiplied_alike(monkeypatch, precision, rows):
    monkeypatch.setattr(weights, 'WIDENED', 50)
    w = tf.random.stateless_normal([1, 96, 7], [1, 2])
    x, b = tf.random.stateless_normal([rows, 96], [3, 4]), tf.range(7.0)
    cut = for_sampling(precision)('h0/mlp/c_proj/w', w)
    assert cut.shape == (2, 7, 48) and cut.dtype == precision
    exact = tf.matmul(x, tf.cast(tf.cast(w[0], precision), tf.float32)) + b
    np.testing.assert_allclose(linear(x, cut, b), exact, atol=1e-4 if rows <= 3 else 0.2)


@pytest.mark.parametrize('precision', ['bfloat16', 'int8'])
@pytest.mark.parametrize('inputs, shape', [(8192, (4, 3, 2048)), (10240, (4, 3, 2560))])
def test_rows_of_gpt3s_widths_are_cut_evenly(precision, inputs, shape):
    w = tf.random.stateless_normal([1, inputs, 3], [1, 2])
    x = tf.random.stateless_normal([1, inputs], [3, 4])
    cut = for_sampling(precision)('h0/mlp/c_proj/w', w)
    assert (cut.rows if precision == 'int8' else cut).shape == shape
    np.testing.assert_allclose(linear(x, cut, tf.zeros(3)), x @ w[0], atol=4)


def test_an_embedding_is_not_cut():
    wte = tf.random.stateless_normal([5, 8192], [1, 2])
    assert for_sampling('bfloat16')('wte', wte).shape == (5, 8192)


@pytest.mark.parametrize('rows', [1, 3, 200])
def test_long_rows_in_int8_are_cut(monkeypatch, rows):
    w = tf.random.stateless_normal([1, 96, 7], [1, 2])
    x, b = tf.random.stateless_normal([rows, 96], [3, 4]), tf.range(7.0)
    whole = for_sampling('int8')('h0/mlp/c_proj/w', w)
    monkeypatch.setattr(weights, 'WIDENED', 50)
    cut = for_sampling('int8')('h0/mlp/c_proj/w', w)
    assert cut.rows.shape == (2, 7, 48) and cut.rows.dtype == tf.int8
    np.testing.assert_allclose(linear(x, cut, b), linear(x, whole, b), atol=1e-3)
    np.testing.assert_allclose(linear(x, cut, b), x @ w[0] + b, atol=0.4)
