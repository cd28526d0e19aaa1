import json

import pytest
import tensorflow as tf

from conftest import DATA
from gpt2.checkpoint import load_params
from gpt2.errors import UserError
from gpt2.model_folder import find_model, load_hparams
from gpt2.training.run_folder import RunFolder, Start, find_start

STATE = {'optimizer/steps': tf.constant(3)}


@pytest.fixture
def hparams(tiny, monkeypatch):
    """Of models/tiny in the working directory, which a run may start from."""
    monkeypatch.chdir(tiny.parent.parent)
    return load_hparams(tiny)


@pytest.fixture
def params(hparams):
    return load_params(DATA / 'tiny-random', hparams)


def start_of(run, restore_from='latest', **shape):
    return find_start(run, restore_from, 'tiny', 'models', shape)


@pytest.mark.parametrize('name', ['', '..', 'a/b', '../x', '/x'])
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
    run.save(3, params, STATE, {'step': 3}, keep=5)
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
        run.save(step, params, STATE, {'step': step, 'average': [0.5, 1]}, keep=2)
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


def test_one_training_at_a_time(hparams):
    run = RunFolder('run1')
    with run.lock():
        with pytest.raises(UserError, match='another process is training checkpoint/run1; set an'):
            RunFolder('run1').lock()
        RunFolder('run2').lock()
    with run.lock():
        pass


def test_a_run_starts_from_the_model_and_goes_on_from_its_own(tiny, hparams, params):
    run = RunFolder('run1')
    from_model = start_of(run)
    assert (from_model.folder.name, from_model.prefix.name) == ('tiny', 'model.ckpt')
    assert from_model.hparams == hparams and from_model.state is from_model.facts is None

    run.begin(tiny, hparams, print)
    for step in (2, 3):
        run.save(step, params, STATE, {'step': step}, keep=5)
    for restore_from, step in (('latest', 3), ('checkpoint/run1/model-2', 2), (run.path, 3)):
        prefix, state = run.path / f'model-{step}', run.path / f'state-{step}'
        found = start_of(run, str(restore_from))
        assert found == Start(run.path, hparams, prefix, state, {'step': step})
    assert start_of(run, 'fresh') == from_model
    other = start_of(RunFolder('other'), 'checkpoint/run1/model-2')
    assert other == Start(run.path, hparams, run.path / 'model-2')


def test_from_scratch_has_the_vocabularys_size(hparams):
    start = start_of(RunFolder('run1'), 'scratch', n_layer=5, n_embd=None)
    assert start.prefix is None and (start.hparams.n_layer, start.hparams.n_vocab) == (5, 512)
    assert start.hparams.n_embd == hparams.n_embd


def test_what_a_run_cannot_start_from(tiny, hparams, params):
    run = RunFolder('run1')
    with pytest.raises(UserError, match='there is no lastest; set --restore_from to latest, fr'):
        start_of(run, 'lastest')
    layers = hparams.n_layer
    with pytest.raises(UserError, match=f'has n_layer {layers}, not 99; leave out --n_layer, or'):
        start_of(run, n_layer=99)
    run.begin(tiny, hparams, print)
    run.save(3, params, STATE, {'step': 3}, keep=5)
    (run.path / 'state-3.json').write_text('{')
    with pytest.raises(UserError, match='state-3.json is damaged: .*; restore from another check'):
        start_of(run)
