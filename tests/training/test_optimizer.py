import numpy as np
import pytest
import tensorflow as tf

from conftest import DATA, new_trainer, steps
from gpt2.params import flatten
from gpt2.training.optimizer import EPSILON, GROW_AFTER, Optimizer

RATE = tf.constant(0.1)


def variables():
    return {'w': tf.Variable([[1.0, -2.0], [3.0, 4.0]]), 'b': tf.Variable([0.5, -0.5])}


def gradients(number):
    return [tf.constant([[0.1, 0.2], [-0.3, 0.0]]) * number, tf.constant([1.0, -2.0])]


@pytest.mark.parametrize('betas', [(0.9, 0.999), (0.9, 0.95), (0.0, 0.0)])
def test_adam_moves_as_its_paper_says(betas):
    found, (beta1, beta2) = variables(), betas
    optimizer = Optimizer('adam', found, betas=betas)
    expected = {name: variable.numpy() for name, variable in found.items()}
    m, v = dict.fromkeys(found, 0), dict.fromkeys(found, 0)
    for number in (1, 2, 3):
        optimizer.apply(gradients(number), 1.0, RATE)
        for name, gradient in zip(found, gradients(number), strict=True):
            gradient = gradient.numpy()
            m[name] = beta1 * m[name] + (1 - beta1) * gradient
            v[name] = beta2 * v[name] + (1 - beta2) * gradient**2
            rate = 0.1 * np.sqrt(1 - beta2**number) / (1 - beta1**number)
            expected[name] = expected[name] - rate * m[name] / (np.sqrt(v[name]) + EPSILON)
    for name, variable in found.items():
        np.testing.assert_allclose(variable, expected[name], rtol=1e-4)
        np.testing.assert_allclose(optimizer.memory[f'{name}/m'], m[name], rtol=1e-5)
        np.testing.assert_allclose(optimizer.memory[f'{name}/v'], v[name], rtol=1e-4)
    assert optimizer.memory.keys() == {'steps', 'w/m', 'w/v', 'b/m', 'b/v'}
    assert int(optimizer.steps) == 3


def test_sgd_follows_the_gradient():
    found, before = variables(), variables()
    optimizer = Optimizer('sgd', found)
    norm = optimizer.apply(gradients(1), tf.constant(7.0), RATE)
    assert float(norm) == 7 and optimizer.memory.keys() == {'steps'}
    for name, gradient in zip(found, gradients(1), strict=True):
        np.testing.assert_allclose(found[name], before[name] - 0.1 * gradient, rtol=1e-6)


def test_decay_is_of_matrices_and_not_of_the_gradient():
    found, plain = variables(), variables()
    Optimizer('adam', found, weight_decay=0.5).apply(gradients(1), 1.0, RATE)
    Optimizer('adam', plain).apply(gradients(1), 1.0, RATE)
    before = variables()['w']
    np.testing.assert_allclose(found['w'], plain['w'] - 0.1 * 0.5 * before, rtol=1e-5)
    np.testing.assert_array_equal(found['b'], plain['b'])


@pytest.mark.parametrize('kind', ['adam', 'sgd'])
def test_the_scale_is_taken_out_and_follows_what_fits(kind):
    found, plain, before = variables(), variables(), variables()
    optimizer = Optimizer(kind, found, scaled=True)
    assert float(optimizer.scale) == 2**15
    norm = optimizer.apply(gradients(1), tf.constant(np.inf), RATE)
    assert float(norm) == 0 and float(optimizer.scale) == 2**14
    assert int(optimizer.steps) == 0 and np.array_equal(found['w'], before['w'])

    scaled = [gradient * 2**14 for gradient in gradients(1)]
    norm = optimizer.apply(scaled, tf.constant(3.0 * 2**14), RATE)
    Optimizer(kind, plain).apply(gradients(1), 3.0, RATE)
    assert float(norm) == 3 and np.array_equal(found['w'], plain['w'])

    optimizer.steps_at_scale.assign(GROW_AFTER - 1)
    optimizer.apply(scaled, tf.constant(1.0), RATE)
    assert float(optimizer.scale) == 2**15 and int(optimizer.steps_at_scale) == 0


def test_weight_decay_of_matrices_only():
    batches = np.load(DATA / 'training.npz')['batches']
    trainer = new_trainer(optimizer='sgd', weight_decay=0.5)
    before = {name: value.numpy() for name, value in flatten(trainer.params).items()}
    plain = new_trainer(optimizer='sgd')
    for one in (trainer, plain):
        steps(one, batches[:1, None], 0.1)
    for name, value in flatten(plain.params).items():
        shrunk = before[name] * 0.05 if value.shape.rank > 1 else 0
        decayed = flatten(trainer.params)[name]
        np.testing.assert_allclose(decayed, value - shrunk, atol=1e-6)
