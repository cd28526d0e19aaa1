"""Runs as nshepperd's fork and as gpt-2-simple leave them go on."""

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from conftest import write_model
from gpt2.checkpoint import load_params
from gpt2.errors import UserError
from gpt2.model_folder import find_model, load_hparams
from gpt2.params import flatten, param_shapes
from jobs import SHAPE, SMALL, new_job, train, working_directory  # noqa: F401

RUN = Path('checkpoint', 'run1')
MODEL_FILES = ('encoder.json', 'hparams.json', 'vocab.bpe')


def leave(folder=RUN, numbers=(5, 7), counter='7\n', model_files=()):
    """Write checkpoints with TensorFlow 1's Saver, as both do, and `counter`; the last's weights.

    model_files: what gpt-2-simple copies there, and the fork does not.
    """
    if not SMALL.exists():
        write_model(SMALL, SHAPE)
    folder.mkdir(parents=True)
    for name in model_files:
        shutil.copy(SMALL / name, folder)
    (folder / 'counter').write_text(counter)
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        variables = {}
        for name, shape in param_shapes(SHAPE).items():
            *scopes, last = f'model/{name}'.split('/')
            with tf.compat.v1.variable_scope('/'.join(scopes)):
                variables[name] = tf.compat.v1.get_variable(last, shape)
        saver = tf.compat.v1.train.Saver(max_to_keep=5)
        draw = tf.compat.v1.global_variables_initializer()
        for number in numbers:
            session.run(draw)
            saver.save(session, str(folder / 'model'), global_step=number)
        return session.run(variables)


@pytest.mark.parametrize(
    'model_files, restore_from',
    [((), 'latest'), ((), RUN), ((), RUN / 'model-7'), (MODEL_FILES, 'latest')],
    ids=['fork', 'folder', 'prefix', 'gpt-2-simple'],
)
def test_its_run_goes_on_from_its_counter(model_files, restore_from):
    weights = leave(model_files=model_files)
    before = {path.name: path.read_bytes() for path in RUN.iterdir()}
    assert any(name.endswith('.meta') for name in before)
    flags = {'restore_from': str(restore_from), 'keep_checkpoints': 1, 'learning_rate': 0.0}
    step, said = train(max_steps=9, save_every=1, val_every=1, val_batch_count=1, **flags)
    assert step == 9 and said[:2] == [
        'Loading checkpoint checkpoint/run1/model-7',
        'Going on with checkpoint/run1 after step 7; its optimizer starts afresh',
    ]
    assert said[2].startswith('[8 | ')
    trained = flatten(load_params(RUN, SHAPE))
    assert all(np.array_equal(trained[name], value) for name, value in weights.items())
    after = {path.name: path.read_bytes() for path in RUN.iterdir() if path.is_file()}
    del before['checkpoint']
    assert before.items() <= after.items()  # nothing of it is lost
    for folder in (RUN, RUN / 'best'):
        find_model(folder.name, folder.parent)
        assert load_hparams(folder) == SHAPE
        for name in ('encoder.json', 'vocab.bpe'):
            assert (folder / name).read_bytes() == (SMALL / name).read_bytes()
    assert {path.name.partition('.')[0] for path in RUN.glob('*-9.*')} == {'model-9', 'state-9'}
    assert not list(RUN.glob('*-8.*'))
    assert new_job().start.facts['step'] == 9


@pytest.mark.parametrize(
    'counter, restore_from, step',
    [
        ('40\n', 'latest', 40),
        ('40\n', RUN / 'model-5', 5),  # of an earlier checkpoint it says nothing
        ('5\n', 'latest', 7),  # a kill after the checkpoint was saved, before it was written
    ],
)
def test_where_counter_and_the_name_differ(counter, restore_from, step):
    leave(counter=counter)
    assert new_job(restore_from=str(restore_from)).start.counter == step


@pytest.mark.parametrize('counter', ['', 'x', '-1', '9' * 30, '9' * 9999])
def test_a_counter_that_is_none(counter):
    leave(counter=counter)
    with pytest.raises(UserError, match='^checkpoint/run1/counter is damaged: .*; write the last'):
        new_job()


def test_another_run_starts_from_it():
    leave(Path('elsewhere'))
    for run_name, restore_from in (('run2', 'elsewhere'), ('run3', 'elsewhere/model-5')):
        start = new_job(run_name=run_name, restore_from=restore_from).start
        assert start.folder == SMALL and start.hparams == SHAPE and start.counter is None
    step, said = train(restore_from='elsewhere', max_steps=1)
    assert step == 1 and said[0] == 'Loading checkpoint elsewhere/model-7'
    assert sorted(path.name for path in Path('elsewhere').glob('*.json')) == []


def test_a_model_of_another_shape_is_not_that_which_was_tuned():
    leave()
    write_model(Path('models', 'other'), dataclasses.replace(SHAPE, n_embd=8))
    with pytest.raises(UserError, match='has model/wpe in the shape .* or set --model_name to th'):
        train(model_name='other')
    assert not list(RUN.glob('*.json'))


def test_a_kill_while_it_is_made_a_model_folder():
    leave()
    shutil.copy(SMALL / 'encoder.json', RUN)
    step, said = train(max_steps=8)
    assert step == 8 and 'after step 7' in said[1]
    find_model('run1', 'checkpoint')
