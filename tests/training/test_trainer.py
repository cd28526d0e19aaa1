import numpy as np
import pytest
import tensorflow as tf

from conftest import DATA, new_trainer, steps
from gpt2.checkpoint import load_params, save_tensors
from gpt2.errors import UserError
from gpt2.model_folder import load_hparams
from gpt2.params import flatten
from gpt2.training.trainer import Trainer, mean_of

HPARAMS = load_hparams(DATA / 'tiny-random')


@pytest.fixture(scope='module')
def golden():
    """Losses and parameters of nshepperd's fork, trained from tests/data/tiny-random.

    training.npz has one run of the fork, whose updates may overtake the backward pass that still
    reads the old value, in TensorFlow 1's variables; training-ordered.npz the losses without it.
    """
    return dict(np.load(DATA / 'training.npz')) | dict(np.load(DATA / 'training-ordered.npz'))


def compare(trainer, losses, golden, name):
    flat = flatten(trainer.params)
    # That fork's Adam adds its epsilon to the sum of three gradients, ours to their mean.
    atol = 1e-4 if name == 'adam_accumulate3' else 1e-5
    np.testing.assert_allclose(losses, golden[f'{name}_losses'], rtol=0, atol=atol)
    np.testing.assert_allclose(flat['wte'][:8], golden[f'{name}_wte'], rtol=0, atol=1e-3)
    c_fc = flat['h2/mlp/c_fc/w'][0, :4]
    np.testing.assert_allclose(c_fc, golden[f'{name}_h2_c_fc_w'], rtol=0, atol=2e-3)


@pytest.mark.parametrize(
    'name, rate, accumulate, options',
    [
        ('adam', 1e-3, 1, {}),
        ('adam', 1e-3, 1, {'memory_saving_gradients': True}),
        ('adam_accumulate3', 1e-3, 3, {}),
        ('adam_accumulate3', 1e-3, 3, {'memory_saving_gradients': True}),
        ('adam_blocks_only', 1e-3, 1, {'only_train_transformer_layers': True}),
        ('sgd', 0.05, 1, {'optimizer': 'sgd'}),
    ],
)
def test_losses_of_the_original(golden, name, rate, accumulate, options):
    trainer = new_trainer(**options)
    losses = steps(trainer, golden['batches'].reshape(-1, accumulate, 2, 32), rate)
    compare(trainer, losses, golden, name)
    if name == 'adam_blocks_only':
        before, after = flatten(load_params(DATA / 'tiny-random', HPARAMS)), flatten(trainer.params)
        for same in ('wte', 'wpe', 'ln_f/g', 'ln_f/b'):
            assert np.array_equal(before[same], after[same])


@pytest.mark.parametrize('options', [{}, {'memory_saving_gradients': True}])
def test_the_gradient_of_every_parameter(golden, options):
    """gradients.npz: of each the norm, then 16 entries spread evenly, at the first step.

    As Transformers' GPT-2 gives them in PyTorch, in float64; finite differences of its loss agree
    within 1e-9.
    """
    trainer = new_trainer(**options)
    batch = tf.constant(golden['batches'][:1])
    _, *gradients = trainer.compiled_gradients(batch, batch, tf.constant(0, tf.int64), 1.0)
    expected = dict(np.load(DATA / 'gradients.npz'))
    for name, gradient in zip(flatten(trainer.params), gradients, strict=True):
        norm, *entries = expected.pop(name)
        flat = gradient.numpy().astype(np.float64).ravel()
        assert np.linalg.norm(flat) == pytest.approx(norm, rel=1e-5), name
        picked = flat[np.linspace(0, flat.size - 1, len(entries)).astype(int)]
        np.testing.assert_allclose(picked, entries, rtol=1e-4, atol=1e-6 * norm, err_msg=name)
    assert not expected


def test_one_trace_for_all_steps(golden):
    trainer = new_trainer()
    steps(trainer, golden['batches'][:, None], 1e-3)
    assert trainer.compiled_step.experimental_get_tracing_count() == 1


def test_dropout_depends_on_seed_and_step_alone(golden):
    batches = golden['batches'][:4, None]
    trainer, saving = (
        new_trainer(optimizer='sgd', dropout=0.3, seed=1, memory_saving_gradients=saving)
        for saving in (False, True)
    )
    losses = steps(trainer, batches, 0.0)
    assert steps(trainer, batches, 0.0) == losses
    assert not set(steps(trainer, batches, 0.0, first=4)) & set(losses)
    assert not set(steps(new_trainer(optimizer='sgd', dropout=0.3, seed=2), batches, 0.0)) & set(
        losses
    )
    np.testing.assert_allclose(steps(saving, batches, 0.0), losses, atol=1e-5)
    learnt = [steps(one, batches, 0.05) for one in (trainer, saving)]
    np.testing.assert_allclose(*learnt, atol=1e-3)  # the masks of the gradients are the same too


def test_clip_norm(golden):
    batch = tf.constant(golden['batches'][0][None])
    plain, clipped = new_trainer(optimizer='sgd'), new_trainer(optimizer='sgd', clip_norm=0.5)
    before = flatten(load_params(DATA / 'tiny-random', HPARAMS))
    norms = [trainer.step(batch, batch, 1.0, 0)[1] for trainer in (plain, clipped)]
    assert norms[0] == pytest.approx(norms[1]) and norms[0] > 0.5
    moved = tf.linalg.global_norm(
        [value - before[name] for name, value in flatten(clipped.params).items()]
    )
    assert float(moved) == pytest.approx(0.5, rel=1e-4)


def test_state_resumes_exactly(golden, tmp_path):
    batches = golden['batches'][:, None]
    whole = new_trainer()
    expected = steps(whole, batches, 1e-3)
    first = new_trainer()
    assert steps(first, batches[:10], 1e-3) == expected[:10]
    save_tensors(tmp_path / 'state-10', first.state())
    second = Trainer(first.params, HPARAMS)
    second.restore(tmp_path / 'state-10')
    assert steps(second, batches[10:], 1e-3, first=10) == expected[10:]
    for name, value in flatten(whole.params).items():
        assert np.array_equal(value, flatten(second.params)[name])
    save_tensors(tmp_path / 'sgd', new_trainer(optimizer='sgd').state())
    with pytest.raises(UserError, match='another --optimizer'):
        new_trainer().restore(tmp_path / 'sgd')


def test_a_state_that_may_not_be_read_is_not_damaged(tmp_path, monkeypatch):
    def refuse(*_):
        raise tf.errors.PermissionDeniedError(None, None, 'state-1.data; Permission denied')

    trainer = new_trainer(n_layer=1, optimizer='sgd')
    save_tensors(tmp_path / 'state-1', trainer.state())
    monkeypatch.setattr('gpt2.training.trainer.restore', refuse)
    with pytest.raises(UserError, match='state-1 cannot be read .*change its permissions$'):
        trainer.restore(tmp_path / 'state-1')


@pytest.mark.parametrize('precision', ['bfloat16', 'float16'])
def test_losses_in_another_precision(golden, precision):
    batches = golden['batches'][:, None]
    exact, low = (
        steps(new_trainer(precision=name), batches, 1e-3) for name in ('float32', precision)
    )
    assert low != exact
    np.testing.assert_allclose(low, exact, rtol=0.01)
    np.testing.assert_allclose(np.mean(low), np.mean(exact), rtol=0.001)


def test_float16_skips_a_step_too_large_for_it(golden, tmp_path):
    batch = golden['batches'][:1, None]
    trainer = new_trainer(precision='float16', clip_norm=1.0)
    scale = trainer.optimizer.scale
    scale.assign(2.0**40)
    before = trainer.params['wte'].numpy()
    [loss] = steps(trainer, batch, 1e-3)
    assert np.isfinite(loss) and trainer.step(*batch, *batch, 1e-3, 0) == (loss, 0, False)
    assert np.array_equal(trainer.params['wte'], before) and float(scale) == 2.0**38
    scale.assign(2.0**10)
    assert trainer.step(*batch, *batch, 1e-3, 0)[1] > 0
    assert not np.array_equal(trainer.params['wte'], before)

    save_tensors(tmp_path / 'state-1', trainer.state())
    again = new_trainer(precision='float16')
    again.restore(tmp_path / 'state-1')
    for name, value in trainer.state().items():
        assert np.array_equal(value, again.state()[name]), name
    assert float(again.optimizer.scale) == 2.0**10
    save_tensors(tmp_path / 'float32-1', new_trainer().state())
    again.restore(tmp_path / 'float32-1')  # has no scale
    assert float(again.optimizer.scale) == 2.0**10


@pytest.mark.parametrize(
    'options', [{}, {'memory_saving_gradients': True, 'precision': 'bfloat16'}]
)
def test_the_validation_loss_is_that_of_a_step(golden, options):
    batch = golden['batches'][:1, None]
    trainer = new_trainer(**options)
    loss = float(trainer.loss(tf.constant(batch[0, 0])))
    assert steps(trainer, batch, 1e-3) == [pytest.approx(loss, rel=1e-6)]


def test_mean_of():
    def tensors(i):
        return [tf.cast(i, tf.float32), tf.ones([2]) * tf.cast(i, tf.float32)]

    for count, mean in ((1, 0), (3, 1)):
        one, two = tf.function(lambda count=count: mean_of(tensors, count))()
        assert float(one) == mean and two.numpy().tolist() == [mean, mean]
