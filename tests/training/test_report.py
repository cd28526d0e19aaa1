import io
import re
from types import SimpleNamespace

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


def test_a_line_every_so_many_steps(tmp_path):
    said, progress = [], Progress(seed=1)
    report = Report(progress, tmp_path, None, said.append, log_every=3)
    for _ in range(7):
        progress.advance(2.0, 1.0)
        report.step(loss=2.0, tokens_per_second=10.0)
    assert [line.partition(' ')[0] for line in said] == ['[3', '[6']


class Screen(io.StringIO):
    """A terminal."""

    def isatty(self):
        return True

    def __call__(self):
        """The last line that it shows."""
        return self.getvalue().rstrip().split('\r')[-1]


def screen_of(monkeypatch) -> Screen:
    """A terminal of 80 columns in the place of stderr; pytest sets that between its phases."""
    screen = Screen()
    monkeypatch.setattr('sys.stderr', screen)
    monkeypatch.setattr('tqdm.std._screen_shape_wrapper', lambda: lambda file: (80, 24))
    return screen


def test_the_bar_has_room_for_all_in_80_columns(tmp_path, monkeypatch):
    screen = screen_of(monkeypatch)
    progress = Progress(seed=1, step=12344, average=(250.0, 100.0))
    report = Report(progress, tmp_path, 20000, print)
    assert 'preparing the first step' in screen()
    progress.validated(9.5)
    progress.advance(2.0, 1.0)
    report.step(loss=9.0, tokens_per_second=15234.0)
    report.bar.start_t -= 3  # seconds for a step
    report.close()
    line = screen()
    assert re.match(r'12345/20000 \S+ +loss=9\.00 avg=2\.50 15234 tokens/s ', line), line
    assert re.search(r' [\d:]+ left val=9\.50 best=9\.50$', line) and len(line) <= 80


def test_the_bar_of_a_run_without_an_end(tmp_path, monkeypatch):
    screen = screen_of(monkeypatch)
    progress = Progress(seed=1, best=2.0)
    report = Report(progress, tmp_path, None, print)
    for _ in range(3):  # quicker than a bar is drawn
        progress.advance(2.0, 1.0)
        report.step(loss=2.0, tokens_per_second=10.0)
    report.close()
    assert screen().strip() == '3 steps loss=2.00 avg=2.00 10 tokens/s 00:00 best=2.00'


def test_the_silent_tell_nothing(tmp_path):
    said, progress = [], Progress(seed=1)
    report = Report(progress, tmp_path, total=None, say=said.append, silent=True)
    progress.advance(2.0, 1.0)
    report.step(loss=2.0, tokens_per_second=10.0)
    report.line('Saving it')
    report.flush()
    assert said == [] and not list(tmp_path.iterdir())


def test_nobody_hears_it(tmp_path):
    asked = []

    def say(line):
        raise BrokenPipeError

    interrupts = SimpleNamespace(ask=lambda: asked.append(True))
    report = Report(Progress(seed=1), tmp_path, None, say, interrupts=interrupts)
    report.line('one')
    report.line('two')
    assert asked == [True] and isinstance(report.unheard, BrokenPipeError)


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
