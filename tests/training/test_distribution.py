"""Several workers, as processes on this machine, and several devices in one process."""

import dataclasses
import json
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from test_train import arguments, facts, small, wait_for_step, weights  # noqa: F401

from conftest import DATA, ROOT
from gpt2.training import distribution
from gpt2.training.cluster import ALONE
from jobs import SHAPE, free_addresses, new_job

PIPES = {'stdout': subprocess.PIPE, 'stderr': subprocess.PIPE, 'text': True}


@pytest.fixture
def addresses():
    """Of two workers on this machine."""
    return free_addresses()


@pytest.fixture
def other(tmp_path):
    """The second machine: it has the vocabulary, but no checkpoint."""
    folder = tmp_path / 'other' / 'models' / 'small'
    folder.mkdir(parents=True)
    for name in ('encoder.json', 'vocab.bpe'):
        shutil.copy(tmp_path / 'models' / 'small' / name, folder)
    return tmp_path / 'other'


@pytest.fixture
def start_two(tmp_path, other, addresses, monkeypatch):
    """Starts train.py on two workers, the chief first."""
    started = []

    def start_two(second=None, typed=None, **flags):
        both = []
        for index, cwd in enumerate((tmp_path, other)):
            task = {'type': 'worker', 'index': index}
            config = {'cluster': {'worker': addresses}, 'task': task}
            monkeypatch.setenv('TF_CONFIG', json.dumps(config))
            args = typed or arguments(**flags, **(second or {} if index else {}))
            both.append(
                subprocess.Popen(
                    [sys.executable, ROOT / 'train.py', *args],
                    cwd=cwd,
                    **PIPES,
                )
            )
        monkeypatch.delenv('TF_CONFIG')
        started.extend(both)
        return both

    yield start_two
    for process in started:
        process.kill()
        process.communicate()


def ends(processes):
    """[return code, stdout, stderr] of each."""
    told = [process.communicate(timeout=120) for process in processes]
    return [[process.returncode, *texts] for process, texts in zip(processes, told, strict=True)]


def losses(folder, steps):
    """Of each step, from what each checkpoint says of those up to it."""
    sums = [0.0] + [facts(folder, step)['average'][0] for step in range(1, steps + 1)]
    return [after - 0.99 * before for before, after in zip(sums, sums[1:], strict=False)]


def test_two_workers_are_one_process_with_twice_the_batch(run, start_two, tmp_path):
    flags = {'max_steps': 20, 'save_every': 1, 'keep_checkpoints': 20, 'learning_rate': 0.01}
    flags |= {'noise': 0.1, 'accumulate_gradients': 2, 'clip_norm': 1, 'weight_decay': 0.1}
    alone = run('train.py', *arguments(run_name='one', **flags | {'batch_size': 4}))
    assert alone.returncode == 0, alone.stderr
    (chief, told, chief_errors), (worker, worker_told, errors) = ends(
        start_two(run_name='two', val_every=20, val_batch_count=1, **flags)
    )
    assert (chief_errors, errors, chief, worker) == ('', '', 0, 0)
    assert 'validation loss' in told and 'Try: python' in told
    assert not re.search('loss|Saving|Try', worker_told)
    folder = tmp_path / 'checkpoint'
    np.testing.assert_allclose(
        losses(folder / 'two', 20), losses(folder / 'one', 20), rtol=0, atol=1e-4
    )
    assert not (tmp_path / 'other' / 'checkpoint').exists()

    two = start_two(run_name='killed', **flags | {'save_every': 4})
    wait_for_step(two[0], 6)
    two[1].kill()
    code, _, sentence = ends(two)[0]
    assert code == 2 and sentence.count('\n') == 1, sentence
    assert re.match('train.py: another worker is gone .*; start all of them again', sentence)
    (chief, told, _), (worker, *_) = ends(start_two(run_name='killed', **flags))
    assert (chief, worker) == (0, 0) and 'Going on with checkpoint/killed after step 4' in told
    assert weights(folder / 'killed', 20) == weights(folder / 'two', 20)


def test_workers_take_the_flags_of_a_run_that_goes_on(run, start_two, tmp_path):
    flags = {'max_steps': 2, 'accumulate_gradients': 3, 'dropout': 0.1, 'batch_size': 4}
    done = run('train.py', *arguments(**flags))
    assert done.returncode == 0, done.stderr
    needed = [word for word in arguments() if re.match('--(dataset|model)', word)]
    (chief, told, chief_errors), (worker, _, errors) = ends(
        start_two(typed=[*needed, '--max_steps', '4'])
    )
    assert (chief_errors, errors, chief, worker) == ('', '', 0, 0)
    assert '->' not in told and 'Going on with checkpoint/run1 after step 2' in told
    before, after = (facts(tmp_path / 'checkpoint' / 'run1', step)['flags'] for step in (2, 4))
    assert after == before | {'max_steps': 4}


def test_the_commands_of_the_page(run, addresses, tmp_path):
    """As they stand, but for the addresses and the number of steps."""
    page = (ROOT / 'docs' / 'training.md').read_text('utf-8')
    block = re.search(r'^```shell\n(TF_CONFIG.*?)^```$', page, re.M | re.S)[1]
    np.savez(tmp_path / 'license.npz', np.arange(1000))
    both = []
    for command in block.replace('max_steps 100', 'max_steps 2').splitlines():
        for address, here in zip(('10.0.0.1:2222', '10.0.0.2:2222'), addresses, strict=True):
            command = command.replace(address, here)
        command = command.replace('python train.py', f'{sys.executable} {ROOT / "train.py"}')
        both.append(subprocess.Popen(['bash', '-c', command], cwd=tmp_path, **PIPES))
    assert [code for code, *_ in ends(both)] == [0, 0]
    assert facts(tmp_path / 'checkpoint' / 'both', 2)['step'] == 2


def test_an_interrupt_of_one_worker_ends_all_and_saves(start_two, tmp_path):
    two = start_two(max_steps=100_000)
    wait_for_step(two[0], 3)
    two[1].send_signal(signal.SIGTERM)
    (chief, told, chief_errors), (worker, _, errors) = ends(two)
    assert (chief_errors, errors, chief, worker) == ('', '', 0, 0)
    step = int(re.search(r'Saving checkpoint/run1/model-(\d+)', told)[1])
    assert step >= 3 and facts(tmp_path / 'checkpoint' / 'run1', step)['step'] == step


def test_workers_with_different_flags(start_two):
    for code, _, errors in ends(start_two(second={'max_steps': 3})):
        assert code == 2
        assert errors == (
            'train.py: the workers have different flags; start all with the same command\n'
        )


MIRRORED = """
import sys
from pathlib import Path

import numpy as np
import tensorflow as tf

[cpu] = tf.config.list_physical_devices('CPU')
halves = [tf.config.LogicalDeviceConfiguration()] * 2
tf.config.set_logical_device_configuration(cpu, halves)

from gpt2.training import distribution
from gpt2.checkpoint import load_params, save_tensors
from gpt2.model_folder import load_hparams
from gpt2.training.trainer import Trainer

data, state, precision = sys.argv[1:]
hparams = load_hparams(data)
strategy = tf.distribute.MirroredStrategy(['CPU:0', 'CPU:1'])


def new_trainer(params):
    params = distribution.mirror(strategy, params)
    with strategy.scope():
        return Trainer(params, hparams, precision=precision)


trainer, losses = new_trainer(load_params(data, hparams)), []
for number, batch in enumerate(np.load(data + '/../training.npz')['batches'][:9]):
    if number == 5:
        save_tensors(Path(state), trainer.state())
        trainer = new_trainer(trainer.local)
        trainer.restore(state)
    losses.append(trainer.step(batch[None], batch[None], 1e-3, number)[0])
for variable in trainer.variables:
    one, two = strategy.experimental_local_results(variable)
    assert np.array_equal(one, two)
print(losses)
"""


@pytest.mark.parametrize('precision, rtol', [('float32', 1e-4), ('float16', 0.01)])
def test_two_devices_have_the_losses_of_one(tmp_path, precision, rtol):
    args = [DATA / 'tiny-random', tmp_path / 'state-5', precision]
    args = [sys.executable, '-c', MIRRORED, *args]
    done = subprocess.run(args, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    expected = np.load(DATA / 'training.npz')['adam_losses'][:9]
    np.testing.assert_allclose(json.loads(done.stdout), expected, rtol=rtol)


def test_one_process_agrees_with_itself(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    strategy = distribution.get_strategy(ALONE)
    job = new_job(context_length=None, seed=7)
    assert distribution.agree(strategy, job) == (0, 7, False, SHAPE, 64)
    start = dataclasses.replace(job.start, facts={'step': 5, 'seed': 3})
    resumed = dataclasses.replace(job, start=start)
    assert distribution.agree(strategy, resumed) == (5, 3, True, SHAPE, 64)
    assert capsys.readouterr().err == ''

    Path('short.txt').write_text('a few letters')
    agreed = distribution.agree(strategy, new_job(dataset='short.txt', run_name='short'))
    told = capsys.readouterr().err
    assert told == (
        f'the longest chunk has {agreed.length} tokens: the windows have as many, not 32\n'
    )
    job.flags.seed = None
    assert len({distribution.agree(strategy, job).seed for _ in range(3)}) == 3


def test_what_is_said_of_a_worker_that_is_gone():
    told = 'Collective ops is aborted by: Socket closed:\nmore'
    assert str(distribution.lost(RuntimeError(told))).startswith(
        'another worker is gone (Socket closed); start all of them again'
    )
    assert 'is gone (RuntimeError);' in str(distribution.lost(RuntimeError('anything')))
