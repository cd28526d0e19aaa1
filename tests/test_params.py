import math

import numpy as np
import pytest
import tensorflow as tf

from gpt2.hparams import HParams
from gpt2.params import flatten, grown, init_params, nest, param_shapes


@pytest.mark.parametrize(
    'n_embd, n_head, n_layer, parameters',
    [
        (768, 12, 12, 124439808),
        (1024, 16, 24, 354823168),
        (1280, 20, 36, 774030080),
        (1600, 25, 48, 1557611200),
    ],
)
def test_released_shapes(n_embd, n_head, n_layer, parameters):
    hparams = HParams(50257, 1024, n_embd, n_head, n_layer)
    shapes = param_shapes(hparams)
    assert len(shapes) == 12 * n_layer + 4
    assert sum(map(math.prod, shapes.values())) == parameters


def test_init_params():
    hparams = HParams(n_vocab=500, n_ctx=64, n_embd=64, n_head=4, n_layer=8)
    flat = flatten(init_params(hparams, seed=1))
    assert {name: tuple(v.shape) for name, v in flat.items()} == param_shapes(hparams)
    deviations = {
        'wpe': 0.01,
        'wte': 0.02,
        'h3/attn/c_attn/w': 0.02,
        'h3/mlp/c_fc/w': 0.02,
        'h3/attn/c_proj/w': 0.02 / 4,
        'h3/mlp/c_proj/w': 0.02 / 4,
    }
    for name, deviation in deviations.items():
        assert np.std(flat[name]) == pytest.approx(deviation, rel=0.05)
    assert np.all(flat['ln_f/g'] == 1) and np.all(flat['h0/ln_1/b'] == 0)
    same, other = (flatten(init_params(hparams, seed=seed))['wte'] for seed in (1, 2))
    assert np.array_equal(same, flat['wte']) and not np.array_equal(other, flat['wte'])


def test_nest_and_flatten():
    flat = {'wte': 1, 'h0/ln_1/g': 2, 'h0/ln_1/b': 3}
    assert nest(flat) == {'wte': 1, 'h0': {'ln_1': {'g': 2, 'b': 3}}}
    assert flatten(nest(flat)) == flat


def test_new_tokens_are_near_the_mean_of_all():
    params = init_params(HParams(30, 16, 8, 2, 1), seed=1)
    params['wte'].assign_add(tf.ones([30, 8]) * 3)
    random = tf.random.Generator.from_seed(1)
    wte = grown(params, 3, random)['wte'].numpy()
    assert wte.shape == (33, 8) and np.array_equal(wte[:30], params['wte'].numpy())
    assert np.abs(wte[30:] - wte[:30].mean(axis=0)).max() < 0.1 and len(np.unique(wte[30:])) == 24
