import re

import pytest
import tensorflow as tf

from gpt2.training.progress import Progress
from gpt2.training.report import Report


def test_lines_with_the_step(tmp_path, capsys):
    said, progress = [], Progress(seed=1, step=4)
    report = Report(progress, tmp_path, total=9, say=said.append)
    progress.advance(2.0, 1.0)
    report.step(loss=2.0, tokens_per_second=10.0, learning_rate=0.1)
    report.line('Saving it')
    assert [re.sub(r'\d+\.\d\d\]', 's]', line) for line in said] == [
        '[5 | s] loss=2.00 avg=2.00',
        '[5 | s] Saving it',
    ]
    assert capsys.readouterr() == ('', '')


def test_the_silent_tell_nothing(tmp_path):
    said, progress = [], Progress(seed=1)
    report = Report(progress, tmp_path, total=None, say=said.append, silent=True)
    progress.advance(2.0, 1.0)
    report.step(loss=2.0, tokens_per_second=10.0)
    report.line('Saving it')
    report.flush()
    assert said == [] and not list(tmp_path.iterdir())


def test_events(tmp_path):
    reader = pytest.importorskip('tensorboard.backend.event_processing.event_accumulator')
    report = Report(Progress(seed=1, step=3), tmp_path, total=None, say=print)
    report.write_events(loss=2.5, samples=['one', 'two'])
    report.flush()
    events = reader.EventAccumulator(str(tmp_path))
    events.Reload()
    assert sorted(events.Tags()['tensors']) == ['loss', 'samples']
    [event] = events.Tensors('loss')
    assert (event.step, tf.make_ndarray(event.tensor_proto)) == (3, 2.5)
