"""What a run tells: lines, a bar at a terminal, TensorBoard's events."""

import importlib.util
import time
from collections.abc import Callable
from pathlib import Path

import tensorflow as tf
from tqdm import tqdm

from .interrupts import Interrupts
from .progress import Progress


class Report:
    """Tells how a run goes: lines to `say`, figures to the events in `folder`.

    total: the bar's steps, None for no end; silent: tell nothing, as all workers but the chief;
    interrupts: asked to stop where nobody hears it any more, which `unheard` then says;
    log_every: without a bar, a line every so many steps, 0 never.
    """

    def __init__(
        self,
        progress: Progress,
        folder: Path,
        total: int | None,
        say: Callable[[str], None],
        silent: bool = False,
        interrupts: Interrupts | None = None,
        log_every: int = 1,
    ):
        self.progress, self.silent, self._say = progress, silent, say
        self.interrupts, self.unheard, self.log_every = interrupts, None, log_every
        self.began = time.time()
        self.events = None
        if not silent and importlib.util.find_spec('tensorboard'):
            self.events = tf.summary.create_file_writer(str(folder))
        self.place = '{n_fmt} steps' if total is None else '{n_fmt}/{total_fmt} {bar}'
        self.bar = tqdm(
            total=total,
            initial=progress.step,
            bar_format=self.place + ' preparing the first step ...',
            disable=True if silent else None,
            dynamic_ncols=True,
        )

    def line(self, text: str) -> None:
        """A line with the step and the seconds, above the bar: [9 | 1.23] text."""
        if self.silent:
            return
        try:
            with tqdm.external_write_mode():
                self._say(f'[{self.progress.step} | {time.time() - self.began:.2f}] {text}')
        except OSError as error:  # the reader of a pipe went away, a terminal was closed
            if self.interrupts is None:
                raise
            self.silent, self.unheard = True, error
            self.interrupts.ask()

    def step(self, **figures) -> None:
        """A line for the step, or its place in the bar; and its events."""
        total, weight = self.progress.average
        text = f'loss={figures["loss"]:.2f} avg={total / weight:.2f}'
        if not self.bar.disable:
            self._show(f'{text} {figures["tokens_per_second"]:.0f} tokens/s')
        elif self.progress.is_time(self.log_every):
            self.line(text)
        self.write_events(**figures)

    def _show(self, text: str) -> None:
        """The step in the bar, which has room for all of it in 80 columns."""
        time = '{elapsed}' if self.bar.total is None else '{remaining} left'
        text = f'{self.place} {text} {time}'
        for name, loss in (('val', self.progress.validation), ('best', self.progress.best)):
            text += '' if loss is None else f' {name}={loss:.2f}'
        self.bar.bar_format = text
        self.bar.update(self.progress.step - self.bar.n)

    def close(self) -> None:
        """Leave the bar where the run ends."""
        self.bar.close()

    def write_events(self, **figures) -> None:
        """For TensorBoard, where it is installed: numbers, or a list of texts."""
        if self.events:
            with self.events.as_default(self.progress.step):
                for name, figure in figures.items():
                    write = tf.summary.text if isinstance(figure, list) else tf.summary.scalar
                    write(name, figure)

    def flush(self) -> None:
        """Write out the events so far."""
        if self.events:
            self.events.flush()
