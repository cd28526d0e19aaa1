import json
import signal
import time

import pytest

from gpt2.training import loop
from gpt2.training.interrupts import Interrupts
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
