import errno
import json

import pytest
import tensorflow as tf
from runs import STATE, facts_of, start_of, tiny_hparams, tiny_params  # noqa: F401

from gpt2.checkpoint import load_params, save_params
from gpt2.errors import UserError
from gpt2.model_folder import find_model, load_hparams
from gpt2.training.run_folder import RunFolder


@pytest.mark.parametrize('name', ['', '..', 'a/b', '../x', '/x', 'a\nb'])
def test_a_run_name_names_a_folder(name):
    with pytest.raises(UserError, match='--run_name is the name of a folder in checkpoint, not'):
        RunFolder(name)


def test_begin_makes_model_folders(tiny, hparams):
    run, said = RunFolder('run1'), []
    run.begin(tiny, hparams, said.append)
    for folder in (run.path, run.path / 'best'):
        names = {path.name for path in folder.iterdir() if path.is_file()}
        assert names == {'encoder.json', 'vocab.bpe', 'hparams.json'}
        assert load_hparams(folder) == hparams
        assert (folder / 'vocab.bpe').read_bytes() == (tiny / 'vocab.bpe').read_bytes()
    assert said == []


def test_begin_from_its_own_best_sets_the_old_aside(tiny, hparams, params, capsys):
    run, said = RunFolder('run1'), []
    run.begin(tiny, hparams, said.append)
    run.save(3, params, STATE, facts_of(3), keep=5)
    (run.path.parent / 'run1.1').mkdir()
    run.begin(run.path / 'best', hparams, said.append)
    assert said == [
        'What checkpoint/run1 held is now in checkpoint/run1.2; '
        '--restore_from latest goes on with a run'
    ]
    assert RunFolder('run1.2').has_checkpoint() and not run.has_checkpoint()
    assert capsys.readouterr().out == ''


def test_save_keeps_what_was_written_last(tiny, hparams, params):
    run = RunFolder('run1')
    run.begin(tiny, hparams, print)
    for step in (7, 8, 2, 9):
        run.save(step, params, STATE, facts_of(step), keep=2)
    found = {path.name.partition('.')[0] for path in run.path.glob('*-*')}
    assert found == {'model-2', 'model-9', 'state-2', 'state-9'}
    find_model('run1', 'checkpoint')
    kept = tf.nest.flatten(load_params(run.path, hparams))
    assert all(map(tf.reduce_all, map(tf.equal, kept, tf.nest.flatten(params))))
    assert json.loads((run.path / 'state-9.json').read_text())['average'] == [0.5, 1]
    run.save_best(2, params)
    run.save_best(9, params)
    assert {p.name.partition('.')[0] for p in run.path.glob('best/model*')} == {'model-9'}
    assert not list(run.path.rglob('*.part'))


@pytest.mark.parametrize(
    'keep, saved, there',
    [
        (3, 8, {'model-6', 'model-8'}),
        (2, 8, {'model-8'}),
        (1, 8, {'model-8'}),  # which `checkpoint` names
        (1, 4, {'model-4', 'model-8'}),  # and the one that was gone back to
    ],
)
def test_what_is_to_go_makes_room_first(tiny, hparams, params, monkeypatch, keep, saved, there):
    run, seen = RunFolder('run1'), []
    run.begin(tiny, hparams, print)
    for step in (4, 6, 8):
        run.save(step, params, STATE, facts_of(step), keep=5)

    def fill_the_disk(prefix, tensors):
        seen.append({path.stem for path in run.path.glob('model-*.index')})
        raise OSError(errno.ENOSPC, 'No space left on device')

    monkeypatch.setattr('gpt2.checkpoint.write_tensors', fill_the_disk)
    with pytest.raises(UserError, match='model-9 cannot be written: No space left on device; fre'):
        run.save(9, params, STATE, facts_of(9), keep, saved)
    assert seen == [there]
    assert start_of(run).facts == facts_of(8)


def test_models_of_another_program_stay(tiny, hparams, params):
    run = RunFolder('run1')
    run.begin(tiny, hparams, print)
    save_params(run.path / 'model-1', params)
    for name in ('model-2.data-00000-of-00001', 'state-3.json', 'state-4.index'):
        (run.path / name).touch()  # no checkpoint, nor a part of one
    (run.path / 'model-5.index').mkdir()
    for step in (7, 8, 9):
        run.save(step, params, STATE, facts_of(step), keep=1)
    found = {path.name.partition('.')[0] for path in run.path.glob('*-*')}
    assert found == {'model-1', 'model-5', 'model-9', 'state-9'}


def test_one_training_at_a_time(hparams):
    run = RunFolder('run1')
    with run.lock():
        with pytest.raises(UserError, match='another process is training checkpoint/run1; set an'):
            RunFolder('run1').lock()
        RunFolder('run2').lock()
    with run.lock():
        pass
