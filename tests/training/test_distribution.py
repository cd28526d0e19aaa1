"""Several workers, as processes on this machine, and several devices in one process."""

import json
import re
import shutil
import signal
import socket
import subprocess
import sys

import numpy as np
import pytest
from test_train import arguments, facts, small, wait_for_step, weights  # noqa: F401

from conftest import DATA, ROOT
from gpt2.data.load_dataset import load_dataset
from gpt2.encoder import get_encoder
from gpt2.errors import UserError
from gpt2.training.cluster import ALONE, Cluster, find_cluster

TWO = {'cluster': {'worker': ['a:1', 'b:2']}, 'task': {'type': 'worker', 'index': 1}}
PIPES = {'stdout': subprocess.PIPE, 'stderr': subprocess.PIPE, 'text': True}


@pytest.fixture
def addresses():
    """Of two workers on this machine."""
    servers = [socket.create_server(('localhost', 0)) for _ in range(2)]
    found = [f'localhost:{server.getsockname()[1]}' for server in servers]
    for server in servers:
        server.close()
    return found


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

    def start_two(second=None, **flags):
        both = []
        for index, cwd in enumerate((tmp_path, other)):
            task = {'type': 'worker', 'index': index}
            config = {'cluster': {'worker': addresses}, 'task': task}
            monkeypatch.setenv('TF_CONFIG', json.dumps(config))
            args = arguments(**flags, **(second or {} if index else {}))
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


def test_the_commands_of_the_readme(run, addresses, tmp_path):
    """As they stand, but for the addresses and the number of steps."""
    [block] = re.findall(
        r'^```shell\n(.*?)^```$', (ROOT / 'docs' / 'training.md').read_text(), re.M | re.S
    )
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


# TF_CONFIG


def test_clusters():
    assert find_cluster('') == find_cluster('{}') == ALONE
    assert find_cluster(json.dumps(TWO)) == Cluster(('a:1', 'b:2'), 1)
    jobs = {'worker': ['b:2', 'c:3'], 'chief': ['a:1']}
    for job, index, place in (('chief', 0, 0), ('worker', 0, 1), ('worker', 1, 2)):
        task = {'type': job, 'index': index}
        found = find_cluster(json.dumps({'cluster': jobs, 'task': task}))
        assert found == Cluster(('a:1', 'b:2', 'c:3'), place)
        assert found.is_chief == (place == 0)


@pytest.mark.parametrize(
    'config, sentence',
    [
        ('{', 'TF_CONFIG is no JSON: .*'),
        ('7', 'TF_CONFIG does not have the form of a cluster'),
        (json.dumps({'cluster': {'worker': ['a:1']}}), "TF_CONFIG lacks 'task'"),
        (
            json.dumps(TWO | {'task': {'type': 'ps', 'index': 0}}),
            'TF_CONFIG is broken: train.py .*',
        ),
        (json.dumps(TWO | {'task': {'type': 'worker', 'index': 2}}), '.*there is no worker 2'),
        (json.dumps(TWO | {'cluster': {'worker': ['a', 'b']}}), '.*a is not host:port'),
    ],
)
def test_broken_clusters(config, sentence):
    with pytest.raises(
        UserError, match=f'^{sentence}; set it as docs/training.md shows, or run: unset'
    ):
        find_cluster(config)


def test_a_worker_that_does_not_come(addresses, capsys):
    with pytest.raises(UserError, match=f'no worker has come up at {addresses[1]} in 0 s; see'):
        Cluster(tuple(addresses)).meet(patience=0.3)
    assert f'Waiting for the other workers: {addresses[1]}' in capsys.readouterr().out
    with socket.create_server(('localhost', int(addresses[1].partition(':')[2]))):
        Cluster(tuple(addresses)).meet(patience=0)
        with pytest.raises(UserError, match=f'cannot listen at {addresses[1]} .*; end the proc'):
            Cluster(tuple(addresses), 1).meet()


# Shards


def test_shards_are_dealt_out(tmp_path, tiny):
    enc = get_encoder(tiny.name, tiny.parent)
    for number in range(3):
        np.savez(tmp_path / f'{number}.npz', np.array([number, number]))

    def ids(pattern, workers, index):
        cluster = Cluster(('localhost:0',) * workers, index)
        return [int(chunk[:1][0]) for chunk in load_dataset(enc, pattern, cluster=cluster)]

    shards = tmp_path / '?.npz'
    assert [ids(shards, 2, index) for index in (0, 1)] == [[0, 2], [1]]
    assert [ids(tmp_path / '1.npz', 2, index) for index in (0, 1)] == [[1], [1]]
    with pytest.raises(UserError, match='has 3 .npz files for 4 workers; name one, or at least as'):
        ids(shards, 4, 0)
