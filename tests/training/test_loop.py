import dataclasses
import json
import signal
import time

import pytest

from gpt2.errors import UserError
from gpt2.training import loop
from gpt2.training.interrupts import Interrupts
from gpt2.training.run_folder import RunFolder
from jobs import new_job, train, working_directory  # noqa: F401


def test_read_ahead():
    made, seen = [], []

    def slow():
        for number in range(3):
            time.sleep(0.05)
            made.append(number)
            yield number

    for item, waited in loop.read_ahead(slow()):
        time.sleep(0.15)
        seen.append((item, waited > 0.04, len(made)))
    assert seen == [(0, True, 2), (1, False, 3), (2, False, 3)]


def test_an_error_while_reading_is_not_lost():
    ahead = loop.read_ahead(map(lambda x: 1 / x, [1, 0]))
    assert next(ahead)[0] == 1
    with pytest.raises(ZeroDivisionError):
        next(ahead)


def test_stopped_and_gone_on_is_never_stopped(tmp_path, capsys):
    flags = {'dropout': 0.1, 'noise': 0.1, 'val_every': 2, 'val_batch_count': 2}
    assert train(run_name='whole', max_steps=5, **flags)[0] == 5
    assert train(run_name='parts', max_steps=3, **flags)[0] == 3
    step, said = train(run_name='parts', max_steps=5, **flags)
    assert step == 5 and said[:2] == [
        'Loading checkpoint checkpoint/parts/model-3',
        'Going on with checkpoint/parts after step 3, with its own model and seed',
    ]
    assert [line.partition(' | ')[0] for line in said[2:]] == ['[4', '[4', '[5', '[5']
    whole, parts = (tmp_path / 'checkpoint' / name for name in ('whole', 'parts'))
    name = 'model-5.data-00000-of-00001'
    assert (whole / name).read_bytes() == (parts / name).read_bytes()
    facts = [json.loads((folder / 'state-5.json').read_text()) for folder in (whole, parts)]
    for name in ('step', 'average', 'best', 'seed'):
        assert facts[0][name] == facts[1][name]
    assert 'loss' not in capsys.readouterr().out  # all is told to `say`
    assert train(run_name='parts', max_steps=5, **flags)[0] == 5  # nothing is left to do


def test_an_interrupt_ends_the_loop_after_a_whole_step(tmp_path):
    job, said = new_job(max_steps=50, save_every=4), []

    def say(line):
        said.append(line)
        if line.startswith('[2 | '):
            signal.raise_signal(signal.SIGTERM)

    assert loop.train(job, say) == 2
    assert said[-1].endswith('Saving checkpoint/run1/model-2')
    assert (tmp_path / 'checkpoint' / 'run1' / 'model-2.index').exists()


@pytest.mark.parametrize('where', ['[2 | ', 'Saving checkpoint/run1/model-4'])
def test_a_reader_that_goes_away_has_the_run_saved(tmp_path, where):
    job, said = new_job(max_steps=50, save_every=4), []

    def say(line):
        said.append(line)
        if where in line:
            raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        loop.train(job, say)
    assert where in said[-1]
    step = 2 if where == '[2 | ' else 4
    assert new_job().start.facts['step'] == step


def test_a_step_is_not_saved_twice(tmp_path):
    job, said = new_job(max_steps=2), []
    strategy = loop.get_strategy(job.cluster)
    trainer, progress, drawn = loop.begin(job, strategy, said.append)
    report = loop.Report(progress, job.folder.path, 2, said.append)
    loop.save(job, trainer, progress, report)
    assert progress.saved == 0 and not job.folder.has_checkpoint()
    loop.loop(job, trainer, progress, report, drawn, Interrupts())
    for _ in range(2):
        loop.save(job, trainer, progress, report)
    assert progress.saved == 2 and len([line for line in said if 'Saving' in line]) == 1


def test_a_loss_that_explodes_is_warned_of_before_it_is_saved(tmp_path, monkeypatch):
    flags = {'optimizer': 'sgd', 'keep_checkpoints': 1, 'save_every': 2}
    assert train(max_steps=2, **flags, learning_rate=1e-4)[0] == 2
    job, said = new_job(max_steps=6, **flags, learning_rate=1e-4), []
    steps = iter([(70.0, 1.0, False), (300.0, 1.0, False), (300.0, 1.0, False)])
    explode = lambda trainer, *args: next(steps, (300.0, 1.0, True))  # noqa: E731
    monkeypatch.setattr('gpt2.training.trainer.Trainer.step', explode)
    assert loop.train(job, said.append) == 6
    warnings = [line for line in said if 'Warning' in line]
    assert len(warnings) == 2
    assert warnings[0].partition('] ')[2].startswith('Warning: the loss is 95.9')
    assert 'the best average 6.' in warnings[0]
    assert warnings[1].endswith(
        'the last good checkpoint is checkpoint/run1/model-2; go back: python train.py '
        '--run_name run1 --restore_from checkpoint/run1/model-2 --max_steps 6 '
        '--learning_rate 1e-05'
    )
    assert (
        said.index(warnings[0])
        == said.index(next(line for line in said if 'Saving checkpoint/run1/model-4' in line)) - 1
    )
    folder = tmp_path / 'checkpoint' / 'run1'
    assert {path.name for path in folder.glob('model-*.index')} == {
        'model-2.index',  # which the command needs
        'model-6.index',
    }
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    restore_from = 'checkpoint/run1/model-2'
    step, said = train(max_steps=4, **flags, learning_rate=1e-5, restore_from=restore_from)
    assert step == 4 and not any('Warning' in line for line in said)


def test_the_losses_are_drawn_over_the_whole_run(tmp_path):
    flags = {'run_name': 'a run', 'val_every': 2, 'val_batch_count': 1}
    train(max_steps=3, **flags)
    folder = tmp_path / 'checkpoint' / 'a run'
    assert 'a run, 3 steps' in (folder / 'losses.svg').read_text()
    train(max_steps=5, **flags)
    assert 'a run, 5 steps' in (folder / 'losses.svg').read_text()
    rows = RunFolder('a run').losses.read(5)
    assert [row.step for row in rows] == [1, 2, 3, 4, 5]
    assert [row.step for row in rows if row.validation] == [2, 4]
    facts = json.loads((folder / 'state-5.json').read_text())
    total, weight = facts['average']
    assert rows[-1].average == pytest.approx(total / weight, rel=1e-5)
    assert facts['best'] == pytest.approx(min(r.validation for r in rows if r.validation), rel=1e-5)
    train(max_steps=4, restore_from='checkpoint/a run/model-3', **flags)
    assert 'a run, 4 steps' in (folder / 'losses.svg').read_text()


def test_a_worker_takes_the_flags_of_the_chief(monkeypatch):
    """Of a run that goes on, which the chief alone has."""
    from gpt2.training import distribution
    from gpt2.training.cluster import Cluster

    job = new_job(batch_size=1)
    job = dataclasses.replace(job, cluster=Cluster(('a:1', 'b:2'), 1))
    chief = json.dumps({'batch_size': 4, 'max_steps': None, 'découpage': 1}).encode()
    monkeypatch.setattr(
        distribution,
        'gather',
        lambda strategy, row: (
            [row, [0, len(chief), *chief.ljust(len(row) - 2)]]
            if len(row) > 1
            else [row, [len(chief)]]
        ),
    )
    text = distribution.from_chief(None, job.cluster, 'x')
    assert text.encode() == chief
    flags = vars(job.flags) | {'batch_size': 4}
    distribution._take_flags(job, flags)
    assert job.flags.batch_size == 4
    with pytest.raises(UserError, match='run reads its dataset with --column text, this worker'):
        distribution._take_flags(job, flags | {'column': 'text'})
