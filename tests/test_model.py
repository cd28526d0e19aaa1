import numpy as np
import pytest
import tensorflow as tf

from conftest import DATA
from gpt2 import fast
from gpt2.cache import split_past
from gpt2.checkpoint import load_params
from gpt2.errors import UserError
from gpt2.model import gelu, hidden, model, norm, predict
from gpt2.model_folder import load_hparams

HPARAMS = load_hparams(DATA / 'tiny-random')


@pytest.fixture(scope='module')
def params():
    return load_params(DATA / 'tiny-random', HPARAMS)


def close(actual, expected):
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-4)


def test_logits_and_presents_of_the_original(params, golden):
    out = model(params, HPARAMS, golden['tokens'])
    close(out['logits'], golden['logits'])
    close(out['present'], golden['present'])


def test_logits_given_a_past(params, golden):
    tokens = golden['tokens']
    past = model(params, HPARAMS, tokens[:, :13])['present']
    out = model(params, HPARAMS, tokens[:, 13:], past=past)
    close(out['logits'], golden['logits_with_past'])
    close(out['present'], golden['present_with_past'])


def in_pieces(past, *lengths):
    """For each block its Pasts of so many positions of `past`, with room left."""
    pieces, start = [], 0
    for length in lengths:
        piece = past[..., start : start + length, :]
        padding = [[0, 0]] * 4 + [[0, 30], [0, 0]]
        pieces.append(split_past(tf.pad(piece, padding, constant_values=7.0), length))
        start += length
    return list(zip(*pieces, strict=True))


def test_pasts_in_pieces_with_room_left(params, golden):
    tokens = golden['tokens']
    past = model(params, HPARAMS, tokens[:, :13])['present']
    h, _ = hidden(params, HPARAMS, tokens[:, 13:], in_pieces(past, 5, 8))
    close(predict(params, h), golden['logits_with_past'])


def test_full_context(params, golden):
    logits = model(params, HPARAMS, golden['tokens_full_context'])['logits']
    close(logits[:, -1], golden['logits_full_context'])


def test_attention_in_slices(params, golden, monkeypatch):
    monkeypatch.setattr(fast, 'QUERIES', 9)
    tokens = golden['tokens_full_context']
    close(model(params, HPARAMS, tokens)['logits'][:, -1], golden['logits_full_context'])
    past = model(params, HPARAMS, golden['tokens'][:, :2])['present']
    h, _ = hidden(params, HPARAMS, golden['tokens'][:, 2:], in_pieces(past, 2))
    close(predict(params, h), golden['logits'][:, 2:])


@pytest.mark.parametrize('dtype', [tf.float32, tf.bfloat16])
def test_fused_functions_have_the_gradients_of_the_plain_ones(dtype):
    x, upstream = (tf.cast(tf.random.stateless_normal([3, 8], [1, i]), dtype) for i in (1, 2))
    scope = {'g': tf.cast(tf.linspace(1.0, 2.0, 8), dtype), 'b': tf.ones(8, dtype)}

    def values():
        with tf.GradientTape() as tape:
            tape.watch([x, scope])
            y = norm(gelu(x), scope)
        return tf.nest.flatten([y, tape.gradient(y, [x, scope], upstream)])

    for fused, plain in zip(tf.function(values)(), values(), strict=True):
        assert fused.dtype == plain.dtype == dtype
        # NumPy before 2 has no tolerance in bfloat16.
        fused, plain = (tf.cast(x, tf.float32) for x in (fused, plain))
        np.testing.assert_allclose(fused, plain, atol=1e-5 if dtype == tf.float32 else 0.1)


def test_inside_a_function_with_unknown_dimensions(params, golden):
    @tf.function(input_signature=[tf.TensorSpec([None, None], tf.int32)])
    def logits(X):
        past = model(params, HPARAMS, X[:, :5])['present']
        return model(params, HPARAMS, X[:, 5:], past=past)['logits']

    close(logits(golden['tokens']), golden['logits'][:, 5:])
    close(logits(golden['tokens'][:1, :9]), golden['logits'][:1, 5:9])
    assert logits.experimental_get_tracing_count() == 1


@pytest.mark.parametrize('ids', [[[1, 512]], [[-1, 1]], [[1] * 65]])
def test_out_of_range_raises(params, ids):
    @tf.function(input_signature=[tf.TensorSpec([None, None], tf.int32)])
    def graph(X):
        return model(params, HPARAMS, X)['logits']

    for call in (graph, lambda X: model(params, HPARAMS, X)):
        with pytest.raises((UserError, tf.errors.InvalidArgumentError)):
            call(tf.constant(ids))


def test_past_beyond_the_context_raises(params):
    past = model(params, HPARAMS, [[1] * 60])['present']
    with pytest.raises(UserError, match='65 tokens are more than the n_ctx of 64'):
        model(params, HPARAMS, [[1] * 5], past=past)
