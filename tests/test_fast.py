"""Each function beside the plain line that it stands for."""

from unittest import mock

import numpy as np
import pytest
import tensorflow as tf

from gpt2 import fast
from gpt2.cache import Past


def normal(*shape, seed=1):
    return tf.random.stateless_normal(shape, [seed, len(shape)])


@pytest.mark.parametrize('rows', [1, 2, 5, 200])
def test_linear(rows):
    x, w, b = normal(rows, 8), normal(1, 8, 6, seed=2), normal(6, seed=3)
    expected = x @ w[0] + b
    for laid_out in (w, tf.transpose(w[0])):
        np.testing.assert_allclose(fast.linear(x, laid_out, b), expected, atol=1e-5)
        low = tf.cast(laid_out, tf.bfloat16)
        y = fast.linear(x, low, b)
        assert y.dtype == tf.float32
        np.testing.assert_allclose(y, expected, atol=0.15)
        wte = tf.cast(tf.transpose(w[0]), tf.bfloat16)
        np.testing.assert_allclose(fast.unembed(x, wte), x @ w[0], atol=0.15)


@pytest.mark.parametrize(
    'cpu, has',
    [
        ('vendor_id : AuthenticAMD\nflags : avx512f avx512_bf16\n', True),
        ('vendor_id : AuthenticAMD\nflags : avx2\n', False),
        ('vendor_id : GenuineIntel\nflags : avx512_bf16 amx_bf16\n', True),
    ],
)
def test_which_processors_have_bfloat16(cpu, has, monkeypatch):
    monkeypatch.setattr('builtins.open', mock.mock_open(read_data=cpu))
    assert fast.has_bfloat16.__wrapped__() == has


@pytest.mark.parametrize('dtype', ['bfloat16', 'float16'])
@pytest.mark.parametrize('rows', [1, 5, 200])
def test_products_in_float32_of_low_factors(rows, dtype):
    h, wte = (tf.cast(x, dtype) for x in (normal(rows, 8), 9 * normal(30, 8, seed=2)))
    exact = tf.cast(h, tf.float64) @ tf.transpose(tf.cast(wte, tf.float64))
    for logits in (fast.unembed(h, wte), fast.wide_product(h, wte, transpose_b=True)):
        assert logits.dtype == tf.float32
        np.testing.assert_allclose(logits, exact, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize('has', [True, False])
@pytest.mark.parametrize('rows', [1, 3, 5, 32, 33, 200])
def test_int8(rows, has, monkeypatch):
    """A row's scale times whole numbers, and nothing lost of x but what 16 bits do not hold; of
    many rows what bfloat16 does not, where that is fast."""
    monkeypatch.setattr(fast, 'has_bfloat16', lambda: has)
    x, w, b = normal(rows, 8), 9 * normal(6, 8, seed=2), normal(6, seed=3)
    x = x * np.array([1, 1, 1, 1, 1, 1, 1, 100], np.float32)  # one feature far above the others
    scale = np.abs(w).max(1) / 127
    whole = np.round(w / scale[:, None])
    low = fast.Int8(tf.constant(whole, tf.int8), tf.constant(scale))
    expected = x.numpy().astype(float) @ (whole * scale[:, None]).T
    near = np.abs(expected).max() * (2**-8 if has and rows >= fast.FEWER else 1e-4)
    np.testing.assert_allclose(fast.linear(x, low, b), expected + b, atol=near)
    np.testing.assert_allclose(fast.unembed(x, low), expected, atol=near)
    np.testing.assert_allclose(fast.embed(low, [[5, 0]]), [(whole * scale[:, None])[[5, 0]]])


@pytest.mark.parametrize('filled', [3, tf.constant(3), tf.constant([3, 1])], ids=repr)
def test_attention_over_a_past_with_room_left(filled):
    """As over what is filled alone."""
    q, k, v = (normal(2, 4, 5, 6, seed=seed) for seed in range(3))
    past = [Past(normal(2, 4, 9, 6, seed=4), normal(2, 4, 9, 6, seed=5), filled)]
    w = tf.nn.softmax(fast.scores(q, k, past))
    mixed = fast.mix(w, v, past)
    for row, n in enumerate(np.broadcast_to(filled, [2])):
        keys = tf.concat([past[0].k[row, :, :n], k[row]], axis=1)
        values = tf.concat([past[0].v[row, :, :n], v[row]], axis=1)
        expected = tf.nn.softmax(tf.matmul(q[row], keys, transpose_b=True)) @ values
        np.testing.assert_allclose(mixed[row], expected, atol=1e-5)


def test_slices_see_what_stands_before_them(monkeypatch):
    monkeypatch.setattr(fast, 'QUERIES', 4)
    q, k, v = (normal(1, 2, 10, 3, seed=seed) for seed in range(3))
    seen = []

    def attend(q, k, v, number):
        seen.append((number, q.shape[2], k.shape[2], v.shape[2]))
        return q

    assert np.array_equal(fast.in_slices(attend)(q, k, v), q)
    assert seen == [(0, 4, 4, 4), (1, 4, 8, 8), (2, 2, 10, 10)]


def test_what_is_computed_anew_is_so_once(monkeypatch):
    calls = {'inner': 0, 'outer': 0}

    @fast.recomputed
    def inner(x):
        calls['inner'] += 1
        return tf.sin(x) * x

    @fast.recomputed
    def outer(x):
        calls['outer'] += 1
        return tf.exp(inner(x))

    x = tf.constant([0.3, 0.7])
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = outer(x)
    gradient = tape.gradient(y, x)
    expected = np.exp(np.sin(x) * x) * (np.cos(x) * x + np.sin(x))
    np.testing.assert_allclose(gradient, expected, rtol=1e-5)
    assert calls == {'inner': 2, 'outer': 2}
