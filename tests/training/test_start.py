"""Where a run starts, and other programs' runs."""

import errno
import shutil
import subprocess
from pathlib import Path

import pytest
import tensorflow as tf
from runs import STATE, facts_of, start_of, tiny_hparams, tiny_params  # noqa: F401

from gpt2.errors import UserError
from gpt2.training.run_folder import RunFolder
from gpt2.training.start import Start


def test_a_run_starts_from_the_model_and_goes_on_from_its_own(tiny, hparams, params):
    run = RunFolder('run1')
    from_model = start_of(run)
    assert (from_model.folder.name, from_model.prefix.name) == ('tiny', 'model.ckpt')
    assert from_model.hparams == hparams and from_model.state is from_model.facts is None

    run.begin(tiny, hparams, print)
    for step in (2, 3):
        run.save(step, params, STATE, facts_of(step), keep=5)
    for restore_from, step in (('latest', 3), ('checkpoint/run1/model-2', 2), (run.path, 3)):
        prefix, state = run.path / f'model-{step}', run.path / f'state-{step}'
        found = start_of(run, str(restore_from))
        assert found == Start(run.path, hparams, prefix, state, facts_of(step))
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
    run.save(3, params, STATE, facts_of(3), keep=5)
    (run.path / 'state-3.json').write_text('{')
    with pytest.raises(UserError, match='state-3.json is damaged: .*; begin a new run from its mo'):
        start_of(run)


def files_of_a_state(run, step):
    return [path for path in sorted(run.path.iterdir()) if path.name.startswith(f'state-{step}.')]


@pytest.mark.parametrize('others', [[], [2, 3]])
def test_a_state_that_is_missing_starts_nothing_afresh(tiny, hparams, params, others):
    run, prefix = RunFolder('a run'), 'checkpoint/a run/model-9'
    run.begin(tiny, hparams, print)
    for step in (*others, 9):
        run.save(step, params, STATE, facts_of(step), keep=5)
    command = f"--run_name other --restore_from '{prefix}'"
    if others:
        command = "--restore_from 'checkpoint/a run/model-3'"
    paths = files_of_a_state(run, 9)
    assert len(paths) == 3
    for path in paths:
        whole = path.read_bytes()
        path.unlink()
        for restore_from in ('latest', prefix):
            with pytest.raises(UserError) as caught:
                start_of(run, restore_from)
            assert str(caught.value).startswith(f'{path} is missing; ')
            assert str(caught.value).endswith(f': {command}')
        assert start_of(RunFolder('other'), prefix).facts is None
        path.write_bytes(whole)
    assert start_of(run).facts == facts_of(9)
    if others:
        assert start_of(run, 'checkpoint/a run/model-3').facts == facts_of(3)


@pytest.mark.parametrize('name', ['state-3.json', 'model-3.index'])
def test_a_file_that_may_not_be_read_is_not_damaged(tiny, hparams, params, monkeypatch, name):
    run, read = RunFolder('run1'), Path.read_bytes
    run.begin(tiny, hparams, print)
    for step in (2, 3):
        run.save(step, params, STATE, facts_of(step), keep=5)

    def refuse(path):
        if path.name == name:
            raise PermissionError(errno.EACCES, 'Permission denied', str(path))
        return read(path)

    monkeypatch.setattr(Path, 'read_bytes', refuse)
    with pytest.raises(PermissionError, match=name):  # which cli.run tells, and what mends it
        start_of(run)
    assert run.whole_steps() == [2]


@pytest.mark.parametrize('swapped', [['model'], ['state'], ['model', 'state']])
def test_files_of_another_step_are_noticed(tiny, hparams, params, swapped):
    run = RunFolder('run1')
    run.begin(tiny, hparams, print)
    for step in (1, 2):
        params['wte'].assign_add(tf.ones_like(params['wte']))
        run.save(step, params, {'optimizer/steps': tf.constant(step)}, facts_of(step), keep=5)
    for kind in swapped:
        for end in ('index', 'data-00000-of-00001'):
            shutil.copy(run.path / f'{kind}-1.{end}', run.path / f'{kind}-2.{end}')
    sentence = 'model-2 or state-2 is of another save; .* --restore_from checkpoint/run1/model-1'
    with pytest.raises(UserError, match=sentence):
        start_of(run)


def test_what_a_run_lacks_is_beside_it(tiny, hparams, params):
    run = RunFolder('run1')
    run.begin(tiny, hparams, print)
    run.save(1, params, STATE, facts_of(1), keep=5)
    (run.path / 'hparams.json').unlink()
    with pytest.raises(
        UserError, match='hparams.json.* run: cp checkpoint/run1/best/enc'
    ) as caught:
        start_of(run)
    subprocess.run(str(caught.value).rpartition('run: ')[2], shell=True, check=True)
    assert start_of(run).facts == facts_of(1)
