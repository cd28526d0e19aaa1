import numpy as np
import pytest
import tensorflow as tf

from conftest import DATA
from gpt2.checkpoint import load_params
from gpt2.model import model
from gpt2.model_folder import load_hparams
from gpt2.training.loss import (
    cross_entropy,
    dropout_masks,
    language_loss,
    plain_cross_entropy,
    slice_loss,
    slice_loss_and_gradient,
)


def test_language_loss_is_that_of_the_logits():
    hparams = load_hparams(DATA / 'tiny-random')
    params = load_params(DATA / 'tiny-random', hparams)
    tokens = tf.constant(np.load(DATA / 'training.npz')['batches'][0])
    logits = model(params, hparams, tokens)['logits']
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(tokens[:, 1:], logits[:, :-1])
    for learn in (True, False):
        loss = language_loss(params, hparams, tokens, tokens, learn=learn)
        np.testing.assert_allclose(loss, tf.reduce_mean(losses), rtol=1e-6)


def test_loss_in_slices():
    h, wte = (
        tf.random.stateless_normal([12, 8], [1, 2]),
        tf.random.stateless_normal([30, 8], [3, 4]),
    )
    labels = tf.range(12) * 2
    with tf.GradientTape(persistent=True) as tape:
        tape.watch([h, wte])
        whole = tf.reduce_mean(
            tf.nn.sparse_softmax_cross_entropy_with_logits(
                labels, tf.matmul(h, wte, transpose_b=True)
            )
        )
        losses = [3 * whole, 3 * cross_entropy(h, wte, labels, size=5)]
    np.testing.assert_allclose(*losses, rtol=1e-5)
    for a, b in zip(*(tape.gradient(loss, [h, wte]) for loss in losses), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


@pytest.mark.parametrize('size', [5, 12, 100])
@pytest.mark.parametrize('dtype', ['float32', 'bfloat16'])
def test_the_loss_without_gradients_is_the_loss(size, dtype):
    h = tf.cast(tf.random.stateless_normal([12, 8], [1, 2]), dtype)
    wte, labels = tf.random.stateless_normal([30, 8], [3, 4]), tf.range(12) * 2
    expected = cross_entropy(h, wte, labels, size=size)
    np.testing.assert_allclose(plain_cross_entropy(h, wte, labels, size=size), expected, rtol=1e-6)


def test_a_label_below_zero_does_not_count():
    logits, labels = tf.random.stateless_normal([3, 30], [1, 2]), tf.constant([4, -1, 7])
    loss, gradient = slice_loss_and_gradient(logits, labels, tf.float32)
    counted = tf.gather(logits, [0, 2])
    np.testing.assert_allclose(loss, slice_loss(counted, tf.constant([4, 7])), rtol=1e-6)
    np.testing.assert_array_equal(slice_loss(logits, labels), loss)
    assert not np.any(gradient[1]) and np.all(gradient[0])
    np.testing.assert_allclose(tf.reduce_sum(gradient, axis=-1), np.zeros(3), atol=1e-6)


def test_dropout_masks():
    def drop(*seed, rate=0.25, place=3, number=4):
        return dropout_masks(rate, tf.constant(seed, tf.int64))(place)(x, number)

    x = tf.ones([100, 100])
    dropped = drop(1, 2).numpy()
    assert set(np.unique(dropped)) == {0, np.float32(1 / 0.75)}
    assert np.mean(dropped == 0) == pytest.approx(0.25, abs=0.02)
    assert np.array_equal(dropped, drop(1, 2))
    for other in (drop(0, 2), drop(1, 0), drop(1, 2, place=0), drop(1, 2, number=0)):
        assert not np.array_equal(dropped, other)
    assert drop(1, 2, rate=0) is x
