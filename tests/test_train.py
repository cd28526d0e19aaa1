"""train.py, run as a user runs it, on a model small enough to compile in no time."""

import fcntl
import json
import os
import re
import resource
import runpy
import shlex
import shutil
import signal
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest
import tensorflow as tf

from conftest import ROOT, write_model
from gpt2.hparams import HParams
from terminal import Terminal

GPUS = tf.config.list_physical_devices('GPU')
FLAGS = {
    'dataset': ROOT / 'README.md',
    'model_name': 'small',
    'models_dir': 'models',
    'batch_size': 2,
    'context_length': 32,
    'learning_rate': 1e-4,
    'sample_every': 0,
    'seed': 1,
}


def arguments(**flags):
    return [f'--{name}={value}' for name, value in (FLAGS | flags).items()]


@pytest.fixture(autouse=True)
def small(tmp_path):
    """models/small, with random parameters and the demo model's vocabulary."""
    hparams = HParams(n_vocab=1024, n_ctx=64, n_embd=16, n_head=2, n_layer=1)
    write_model(tmp_path / 'models' / 'small', hparams)


@pytest.fixture
def train(run):
    return lambda **flags: run('train.py', *arguments(**flags))


@pytest.fixture
def start(tmp_path):
    """Starts train.py in the background."""

    def start(**flags):
        return subprocess.Popen(
            [sys.executable, ROOT / 'train.py', *arguments(**flags)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=tmp_path,
        )

    return start


def wait_for_step(process, number):
    for line in process.stdout:
        if line.startswith(f'[{number} | '):
            return
    raise AssertionError(process.communicate())


def facts(folder, step):
    return json.loads((folder / f'state-{step}.json').read_text())


def weights(folder, step):
    return (folder / f'model-{step}.data-00000-of-00001').read_bytes()


def test_a_run_killed_and_started_again_is_the_run_never_stopped(process, train, start, tmp_path):
    flags = {'max_steps': 9, 'save_every': 4, 'dropout': 0.1, 'noise': 0.1}
    whole = process('train.py', *arguments(run_name='whole', **flags))
    assert (whole.returncode, whole.stderr) == (0, '')
    assert (
        len(re.findall(r'^\[\d+ \| \d+\.\d\d\] loss=\d+\.\d\d avg=\d+\.\d\d$', whole.stdout, re.M))
        == 9
    )

    training = start(run_name='killed', **flags)
    wait_for_step(training, 6)
    training.kill()
    training.communicate()
    # As `whole`: here XLA has the samplers' flags, and on some processors other last bits.
    again = process('train.py', *arguments(run_name='killed', **flags))
    assert 'Loading checkpoint checkpoint/killed/model-4' in again.stdout
    assert '[5 | ' in again.stdout and '[4 | ' not in again.stdout
    whole, killed = tmp_path / 'checkpoint' / 'whole', tmp_path / 'checkpoint' / 'killed'
    assert facts(killed, 9)['average'] == facts(whole, 9)['average']
    assert weights(killed, 9) == weights(whole, 9)

    done = train(run_name='killed', **flags)
    assert done.returncode == 0 and 'has its 9 steps' in done.stdout


def test_a_run_is_a_model_folder(train, run, tmp_path):
    done = train(max_steps=3, save_every=1, keep_checkpoints=2, val_every=1, val_batch_count=2)
    assert (done.returncode, done.stderr) == (0, '')
    assert len(re.findall(r'validation loss = \d+\.\d+ perplexity = \d+\.\d+', done.stdout)) == 3
    folder = tmp_path / 'checkpoint' / 'run1'
    assert {path.name for path in folder.glob('model-*.index')} == {
        'model-2.index',
        'model-3.index',
    }
    assert len(list((folder / 'best').glob('model-*.index'))) == 1
    args = [
        '--models_dir',
        'checkpoint',
        '--model_name',
        'run1',
        '--nsamples',
        '1',
        '--length',
        '9',
    ]
    sampled = run('generate_unconditional_samples.py', *args)
    assert sampled.returncode == 0 and 'SAMPLE 1' in sampled.stdout
    folder.rename(tmp_path / 'models' / '117M')  # as the textbook does
    args = ['--model_name', '124M', '--nsamples', '1', '--length', '9', '--models_dir', 'models']
    assert run('generate_unconditional_samples.py', *args).returncode == 0


def test_a_run_goes_on_in_another_precision(train, tmp_path):
    assert train(max_steps=2).returncode == 0
    done = train(max_steps=4, precision='float16')
    slow = '' if GPUS else 'float16 is very slow without a GPU; bfloat16 is not\n'
    assert (done.returncode, done.stderr) == (0, slow)
    assert 'after step 2' in done.stdout
    assert facts(tmp_path / 'checkpoint' / 'run1', 4)['flags']['precision'] == 'float16'


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_interrupts_save_and_end_well(start, tmp_path, number):
    process = start(max_steps=10_000)
    wait_for_step(process, 3)
    process.send_signal(number)
    out, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (0, '')
    step = int(re.search(r'Saving checkpoint/run1/model-(\d+)', out)[1])
    assert step >= 3 and facts(tmp_path / 'checkpoint' / 'run1', step)['step'] == step


def newest(folder):
    """The facts of the step that `checkpoint` names."""
    named = (folder / 'checkpoint').read_text()
    return facts(folder, int(re.search(r'model-(\d+)', named)[1]))


def test_a_reader_that_goes_away_saves_and_ends(start, tmp_path):
    process = start(max_steps=10_000)
    wait_for_step(process, 2)
    process.stdout.close()  # as of `python train.py ... | head`
    errors = process.stderr.read()
    assert (process.wait(60), errors) == (141, '')
    assert newest(tmp_path / 'checkpoint' / 'run1')['step'] >= 2


def test_a_closed_terminal_saves_and_ends(tmp_path):
    terminal = Terminal(ROOT / 'train.py', *arguments(max_steps=10_000), cwd=tmp_path)
    terminal.wait_for('loss=', times=2)
    os.close(terminal.fd)
    os.waitpid(terminal.pid, 0)
    assert newest(tmp_path / 'checkpoint' / 'run1')['step'] >= 1


def test_a_run_goes_on_with_its_own_flags(train, run, tmp_path):
    done = train(run_name='a run', max_steps=2, clip_norm=0.5)
    go_on = "Go on: python train.py --run_name 'a run' --max_steps 4"
    assert done.stdout.splitlines()[-2] == go_on
    shutil.rmtree(tmp_path / 'models')  # the run has all of the model
    again = run(*shlex.split(go_on.partition('python ')[2]))
    assert (again.returncode, again.stderr) == (0, '') and '->' not in again.stdout
    folder = tmp_path / 'checkpoint' / 'a run'
    flags = facts(folder, 4)['flags']
    assert flags == facts(folder, 2)['flags'] | {'max_steps': 4}
    assert (flags['learning_rate'], flags['clip_norm'], flags['seed']) == (1e-4, 0.5, 1)
    # Its own default is one that is given.
    argv = ['--run_name', 'a run', '--max_steps', 5, '--learning_rate', 0.00002, '--noise', 0]
    done = run('train.py', *argv, '--batch_size', 2)
    assert [line for line in done.stdout.splitlines() if '->' in line] == [
        'learning_rate 0.0001 -> 2e-05'
    ]
    assert facts(folder, 5)['flags']['learning_rate'] == 2e-05
    done = run('train.py', '--run_name', 'a run', '--max_steps', 3)
    assert done.returncode == 0 and not (folder / 'model-3.index').exists()
    assert 'a run has 5 steps already, more than --max_steps 3: none was trained;' in done.stdout


def test_what_comes_after_a_run(train, run, tmp_path):
    done = train(max_steps=2, val_every=2, val_batch_count=1)
    lines = done.stdout.splitlines()[-4:]
    assert lines == [
        'run1 has its 2 steps; to go on, raise --max_steps',
        'Go on: python train.py --run_name run1 --max_steps 4',
        'Try: python interactive_conditional_samples.py --models_dir checkpoint --model_name run1',
        'Try the best: python interactive_conditional_samples.py --models_dir checkpoint/run1 '
        '--model_name best',
    ]
    for line in lines[2:]:
        argv = shlex.split(line.partition('python ')[2])
        done = run(*argv, '--length', 3, input='To be\n')
        assert done.returncode == 0 and 'SAMPLE 1' in done.stdout, done.stderr


def test_called_from_python(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    train = runpy.run_path(str(ROOT / 'train.py'))['train']
    train(max_steps=1, **FLAGS | {'dataset': str(FLAGS['dataset'])})
    train(max_steps=2, learning_rate=2e-5)
    assert 'learning_rate 0.0001 -> 2e-05' in capsys.readouterr().out
    assert facts(tmp_path / 'checkpoint' / 'run1', 2)['flags']['batch_size'] == 2


def test_fresh_never_deletes_the_old(train, tmp_path):
    train(max_steps=2)
    old = weights(tmp_path / 'checkpoint' / 'run1', 2)
    done = train(max_steps=1, restore_from='fresh')
    assert 'What checkpoint/run1 held is now in checkpoint/run1.1' in done.stdout
    assert weights(tmp_path / 'checkpoint' / 'run1.1', 2) == old
    assert facts(tmp_path / 'checkpoint' / 'run1', 1)['step'] == 1
    again = train(max_steps=3, restore_from='checkpoint/run1.1/model-2', run_name='run1.1')
    assert 'Going on with checkpoint/run1.1 after step 2' in again.stdout
    prefix = 'checkpoint/run1.1/model-2'
    done = train(max_steps=1, restore_from=prefix, run_name='other')
    assert f'Loading checkpoint {prefix}' in done.stdout
    assert facts(tmp_path / 'checkpoint' / 'other', 1)['step'] == 1


def test_from_its_own_best(train, tmp_path):
    train(max_steps=2, val_every=1, val_batch_count=1)
    done = train(max_steps=1, restore_from='checkpoint/run1/best')
    assert done.returncode == 0, done.stderr
    assert (tmp_path / 'checkpoint' / 'run1.1' / 'best' / 'checkpoint').exists()


def test_a_run_is_trained_by_one_process_at_a_time(train, start, tmp_path):
    process = start(max_steps=10_000)
    wait_for_step(process, 1)
    done = train(max_steps=1)
    assert done.returncode == 2 and 'another process is training checkpoint/run1' in done.stderr
    process.terminate()
    process.communicate(timeout=60)
    assert not (tmp_path / 'checkpoint' / 'run1.1').exists()


def test_going_back_keeps_what_was_written_last(train, tmp_path):
    train(max_steps=4, save_every=1, keep_checkpoints=2)
    train(max_steps=4, save_every=1, keep_checkpoints=2, restore_from='checkpoint/run1/model-3')
    folder = tmp_path / 'checkpoint' / 'run1'
    assert {path.name for path in folder.glob('model-*.index')} == {
        'model-3.index',
        'model-4.index',
    }
    (folder / '.model-9.part').mkdir()  # what a killed save leaves
    (folder / 'state-9.json.part').touch()
    (folder / 'model-best.index').touch()  # and what a user may
    done = train(max_steps=5, keep_checkpoints=2)
    assert done.returncode == 0, done.stderr
    left = {path.stem for path in folder.glob('*model-*.index')}
    assert left == {'model-4', 'model-5', 'model-best'}
    assert not list(folder.glob('*.part'))


def test_from_scratch(train, tmp_path):
    shape = {'n_layer': 1, 'n_head': 2, 'n_embd': 8, 'n_ctx': 64}
    done = train(max_steps=2, restore_from='scratch', context_length=16, **shape)
    assert done.returncode == 0, done.stderr
    hparams = json.loads((tmp_path / 'checkpoint' / 'run1' / 'hparams.json').read_text())
    assert hparams == {'n_vocab': 1024} | shape
    again = train(max_steps=3, context_length=16, **shape)  # goes on, shape or no shape
    assert again.returncode == 0 and '[3 | ' in again.stdout, again.stderr
    assert '[1 | ' in done.stdout and 6.5 < float(re.search(r'loss=([\d.]+)', done.stdout)[1]) < 7.5


def test_no_number_for_a_loss_saves_nothing(train, tmp_path):
    train(max_steps=1)
    done = train(max_steps=9, optimizer='sgd', learning_rate=1e30, run_name='run2', save_every=1)
    assert done.returncode == 2
    told = r'^train\.py: the [a-z ]+ is (nan|inf) at step \d+, .* --learning_rate'
    assert re.search(told, done.stderr)
    once = train(max_steps=1, optimizer='sgd', learning_rate=1e38, run_name='run3')
    assert once.returncode == 2 and re.search(told, once.stderr)
    assert not list((tmp_path / 'checkpoint' / 'run3').glob('model-*'))
    for path in (tmp_path / 'checkpoint' / 'run2').glob('state-*.json'):
        assert json.loads(path.read_text())['average'][0] < float('inf')


def test_a_disk_that_fills_up_leaves_the_checkpoint_before_whole(train, process, tmp_path):
    train(max_steps=1)
    before = {path.name for path in (tmp_path / 'checkpoint' / 'run1').glob('*-1*')}

    def little_room():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))

    done = process('train.py', *arguments(max_steps=2), preexec_fn=little_room)
    assert done.returncode == 2 and 'cannot be written' in done.stderr
    assert done.stderr.count('\n') == 1
    folder = tmp_path / 'checkpoint' / 'run1'
    assert {path.name for path in folder.glob('*-[12]*')} == before
    assert train(max_steps=2).returncode == 0


def test_too_little_memory_is_one_sentence_that_names_the_flags_to_try(process):
    def little_memory():
        resource.setrlimit(resource.RLIMIT_AS, (16 * 2**30, 16 * 2**30))

    # One matrix alone is beyond the limit: what else may fail under it, TensorFlow's kernels
    # included, has room.
    shape = {'n_layer': 1, 'n_head': 1, 'n_embd': 40_000, 'n_ctx': 64, 'restore_from': 'scratch'}
    done = process('train.py', *arguments(**shape), preexec_fn=little_memory)
    assert done.returncode == 2 and 'Traceback' not in done.stderr
    assert 'train.py: the memory is too small for this; try, one after another: --batch_size 1' in (
        done.stderr
    )


def test_samples_of_the_datas_own_contexts(train, tmp_path):
    done = train(max_steps=2, sample_every=2, sample_num=2, sample_length=12)
    assert done.returncode == 0, done.stderr
    text = (tmp_path / 'samples' / 'run1' / 'samples-2').read_text('utf-8')
    assert re.findall('={8} SAMPLE (.) ={8}', text) == ['1', '2']
    assert re.findall('={8} SAMPLE (.) ={8}', done.stdout) == ['1', '2']


def test_tensorboard_reads_the_events(train, tmp_path):
    reader = pytest.importorskip('tensorboard.backend.event_processing.event_accumulator')
    train(max_steps=2, val_every=2, val_batch_count=1, sample_every=2, sample_length=4)
    events = reader.EventAccumulator(str(tmp_path / 'checkpoint' / 'run1'))
    events.Reload()
    tags = events.Tags()['tensors']
    for name in ('loss', 'learning_rate', 'gradient_norm', 'tokens_per_second', 'input_share'):
        assert [event.step for event in events.Tensors(name)] == [1, 2]
    for name in ('validation_loss', 'perplexity', 'samples'):
        assert [event.step for event in events.Tensors(name)] == [2]
    assert len(tags) == 8


def test_the_bar_ends_at_the_step_that_is_saved(tmp_path):
    terminal = Terminal(ROOT / 'train.py', *arguments(max_steps=100_000), cwd=tmp_path)
    fcntl.ioctl(terminal.fd, termios.TIOCSWINSZ, struct.pack('4H', 24, 80, 0, 0))
    terminal.wait_for('loss=', times=3)
    terminal.type('\x03')
    assert terminal.end() == 0
    step = newest(tmp_path / 'checkpoint' / 'run1')['step']
    shown = re.findall(r'(\d+)/100000 ', terminal.text)
    assert int(shown[-1]) == step and f'model-{step}' in terminal.text
    for line in re.split('[\r\n]', terminal.text):
        assert 'loss=' not in line or len(line.removesuffix('^C')) <= 80, line
    assert 'Go on: python train.py --run_name run1 --max_steps 100000' in terminal.text


def test_a_bar_at_a_terminal(tmp_path):
    terminal = Terminal(ROOT / 'train.py', *arguments(max_steps=3), cwd=tmp_path)
    assert terminal.end() == 0
    assert re.search(r'3/3 .*loss=\d+\.\d\d avg=\d+\.\d\d \d+ tokens/s', terminal.text)


@pytest.mark.parametrize(
    'flags, sentence',
    [
        ({'optimizer': 'adagrad'}, '--optimizer is adam or sgd, not adagrad'),
        ({'precision': 'int8'}, '--precision is float32, bfloat16 or float16, not int8'),
        ({'batch_size': 0}, '--batch_size is a number from 1 up, not 0'),
        ({'learning_rate': -1}, '--learning_rate is a number from 0 up, not -1'),
        ({'noise': 1.5}, '--noise is a share from 0 to 1, not 1.5'),
        ({'context_length': 65}, '--context_length 65 is more than the n_ctx of 64'),
        ({'model_name': '345M'}, 'no model in models/345M .* run: python download_model.py 345M'),
        ({'dataset': 'missing.txt'}, 'missing.txt is no file'),
        ({'restore_from': 'nowhere/model-1'}, 'there is no nowhere/model-1'),
        ({'restore_from': 'lastest'}, 'there is no lastest; set --restore_from to latest, fresh'),
        ({'n_layer': 2}, 'has n_layer 1, not 2; leave out --n_layer, or add --restore_from scr'),
        ({'dropout': 1}, '--dropout 1 leaves nothing'),
        ({'seed': 10**20}, '--seed is a whole number, but'),
        ({'run_name': '..'}, '--run_name is the name of a folder'),
        ({'run_name': '../x'}, '--run_name is the name of a folder'),
        ({'log_every': -1}, '--log_every is a number from 0 up, not -1'),
        ({'learning_rte': 1}, 'did you mean --learning_rate'),
    ],
)
def test_mistakes_before_tensorflow(train, no_tensorflow, tmp_path, flags, sentence):
    done = train(**flags)
    assert done.returncode == 2, done.stderr
    assert re.search(f'^train.py: .*{sentence}', done.stderr) and done.stderr.count('\n') == 1
    assert not Path(tmp_path, 'checkpoint').exists()


def test_nothing_to_train_on(run, no_tensorflow, tmp_path):
    done = run('train.py')
    assert (done.returncode, done.stdout) == (2, '')
    assert done.stderr == (
        'train.py: no text is named to train on; run: python train.py --dataset FILE, or name a '
        'run to go on with: --run_name RUN\n'
    )
    assert not (tmp_path / 'checkpoint').exists()


def test_a_run_that_is_not_there(run, no_tensorflow, tmp_path):
    done = run('train.py', '--run_name', 'nope')
    assert (done.returncode, done.stderr) == (
        2,
        'train.py: there is no run checkpoint/nope to go on with; name one that is there, or begin '
        'it: python train.py --run_name nope --dataset FILE\n',
    )
    assert not (tmp_path / 'checkpoint').exists()


def test_a_mistake_costs_no_wait(process, no_tensorflow):
    done = process('train.py', *arguments(dropout=1))
    sentence = 'train.py: --dropout 1 leaves nothing; set it below 1\n'
    assert (done.returncode, done.stdout, done.stderr) == (2, '', sentence)
