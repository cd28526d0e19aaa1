import functools

import numpy as np
import pytest
import reference
import tensorflow as tf

from gpt2.classification.head import joint_loss, new_head
from gpt2.classification.rows import Example, arrays
from gpt2.hparams import HParams
from gpt2.params import flatten, init_params, nest
from gpt2.training.loss import dropout_masks
from gpt2.training.trainer import Trainer

SHAPE = HParams(n_vocab=30, n_ctx=16, n_embd=8, n_head=2, n_layer=2)
OUTPUTS = {'classification': 3, 'similarity': 3, 'multiple_choice': 1, 'regression': 1, 'cloze': 0}
INPUTS = {'classification': 1, 'similarity': 2, 'multiple_choice': 3, 'regression': 2, 'cloze': 3}


def new_params(kind, bias=True):
    """Far enough from a fresh start for every gradient to be seen."""
    random = tf.random.Generator.from_seed(1)
    params = init_params(SHAPE, seed=1)
    if OUTPUTS[kind]:
        params['head'] = new_head(SHAPE, OUTPUTS[kind], bias, random)
    for variable in flatten(params).values():
        variable.assign_add(random.normal(variable.shape, stddev=0.2))
    return params


def new_examples(kind, rows=4):
    random = np.random.default_rng(2)
    examples = []
    for number in range(rows):
        lengths = random.integers(4, 14, INPUTS[kind])
        inputs = [random.integers(0, SHAPE.n_vocab, length).tolist() for length in lengths]
        label = number / 2 if kind == 'regression' else int(random.integers(3))
        examples.append(Example(inputs, label, (1, 2, 1) if kind == 'cloze' else ()))
    return examples


def new_trainer(kind, params, lm_weight=0.5, **options):
    loss = functools.partial(joint_loss, kind=kind, lm_weight=lm_weight, head_dropout=0)
    return Trainer(params, SHAPE, loss=loss, **options)


def batch_of(examples):
    """One batch, as the trainer takes it."""
    return tf.nest.map_structure(lambda x: tf.constant(x)[None], arrays(examples, SHAPE.n_ctx))


@pytest.mark.parametrize('kind', OUTPUTS)
def test_gradients_are_finite_differences_in_float64(kind):
    """Of the same loss in NumPy: for each variable some entries, and one of each row's tokens."""
    params, examples = new_params(kind), new_examples(kind)
    saving = kind == 'multiple_choice'  # of one kind as a step is compiled, and with less memory
    trainer = new_trainer(kind, params, memory_saving_gradients=saving)
    gradients = trainer.compiled_gradients if saving else trainer._gradients
    loss, *gradients = gradients(*batch_of(examples), tf.constant(0, tf.int64), 1.0)
    flat = {name: v.numpy().astype(np.float64) for name, v in flatten(params).items()}
    ours = functools.partial(reference.joint_loss, nest(flat), SHAPE, examples, kind, 0.5)
    assert float(loss) == pytest.approx(ours(), rel=1e-5)
    random, step = np.random.default_rng(3), 1e-5
    for (name, value), gradient in zip(flat.items(), gradients, strict=True):
        places = random.integers(0, value.size, 4)
        if name == 'wte':
            places[0] = examples[0].inputs[0][1] * SHAPE.n_embd  # of a token that is there
        for place in places:
            one = value.reshape(-1)
            before = one[place]
            one[place] = before + step
            above = ours()
            one[place] = before - step
            below = ours()
            one[place] = before
            found = gradient.numpy().reshape(-1)[place]
            assert found == pytest.approx((above - below) / (2 * step), rel=2e-3, abs=3e-5), name


def test_padding_changes_nothing():
    examples, params = new_examples('classification'), new_params('classification')
    tokens, targets = map_constant(arrays(examples, SHAPE.n_ctx))
    options = {'kind': 'classification', 'lm_weight': 0.5}
    found = joint_loss(params, SHAPE, tokens, targets, **options)
    other = tf.where(tf.range(tokens.shape[-1]) > targets['ends'][..., None], 7, tokens)
    assert float(joint_loss(params, SHAPE, other, targets, **options)) == float(found)
    each = [joint_loss(params, SHAPE, *map_constant(arrays([e], 16)), **options) for e in examples]
    assert float(found) == pytest.approx(float(tf.reduce_mean(each)), rel=1e-5)


def map_constant(batch):
    return tf.nest.map_structure(tf.constant, batch)


def test_the_loss_of_language_modelling_comes_by_its_weight():
    examples, params = new_examples('classification'), new_params('classification')
    batch = map_constant(arrays(examples, SHAPE.n_ctx))
    at = [
        float(joint_loss(params, SHAPE, *batch, kind='classification', lm_weight=weight))
        for weight in (0, 0.5, 1.0)
    ]
    assert at[1] - at[0] == pytest.approx(at[2] - at[1], rel=1e-4) and at[1] - at[0] > 1


def test_the_inputs_of_a_row_share_a_mask_and_rows_do_not():
    examples = new_examples('multiple_choice', 1)
    same = [Example([examples[0].inputs[0]] * 3, 0)] * 2
    params, shown = new_params('multiple_choice'), []
    batch = map_constant(arrays(same, SHAPE.n_ctx))
    for step in range(3):
        masks = dropout_masks(0.0, [tf.constant(1, tf.int64), tf.constant(step, tf.int64)])
        options = {'kind': 'multiple_choice', 'lm_weight': 0, 'head_dropout': 0.5}
        shown.append(float(joint_loss(params, SHAPE, *batch, dropout=masks, **options)))
    # Equal choices stay equal under one mask: the loss is log 3 whatever it drops.
    np.testing.assert_allclose(shown, np.log(3), rtol=1e-5)
    one, two = new_examples('classification', 1)[0], new_params('classification')
    batch = map_constant(arrays([one, one], SHAPE.n_ctx))
    masks = dropout_masks(0.0, [tf.constant(1, tf.int64), tf.constant(0, tf.int64)])
    options = {'kind': 'classification', 'lm_weight': 0}
    dropped = joint_loss(two, SHAPE, *batch, dropout=masks, head_dropout=0.5, **options)
    assert float(dropped) != float(joint_loss(two, SHAPE, *batch, **options))


@pytest.mark.parametrize('precision', [tf.bfloat16, tf.float16])
def test_other_precisions(precision):
    for kind in ('classification', 'cloze'):
        batch = map_constant(arrays(new_examples(kind), SHAPE.n_ctx))
        exact, low = (
            float(joint_loss(new_params(kind), SHAPE, *batch, kind=kind, dtype=dtype))
            for dtype in (tf.float32, precision)
        )
        assert low != exact and low == pytest.approx(exact, rel=0.02)
