"""What a run tells: lines, a bar at a terminal, TensorBoard's events."""

import importlib.util
import time
from collections.abc import Callable
from pathlib import Path

import tensorflow as tf
from tqdm import tqdm

from .progress import Progress


class Report:
    """Tells how a run goes: lines to `say`, figures to the events in `folder`.

    total: the bar's steps, None for no end; silent: tell nothing, as all workers but the chief.
    """

    def __init__(
        self,
        progress: Progress,
        folder: Path,
        total: int | None,
        say: Callable[[str], None],
        silent: bool = False,
    ):
        self.progress, self.silent, self._say = progress, silent, say
        self.began = time.time()
        self.events = None
        if not silent and importlib.util.find_spec('tensorboard'):
            self.events = tf.summary.create_file_writer(str(folder))
        self.bar = tqdm(
            total=total,
            initial=progress.step,
            unit=' steps',
            disable=True if silent else None,
            dynamic_ncols=True,
        )

    def line(self, text: str) -> None:
        """A line with the step and the seconds, above the bar: [9 | 1.23] text."""
        if not self.silent:
            with tqdm.external_write_mode():
                self._say(f'[{self.progress.step} | {time.time() - self.began:.2f}] {text}')

    def step(self, **figures) -> None:
        """A line for the step, or its place in the bar; and its events."""
        total, weight = self.progress.average
        text = f'loss={figures["loss"]:.2f} avg={total / weight:.2f}'
        if self.bar.disable:
            self.line(text)
        else:
            self.bar.set_postfix_str(f'{text} {figures["tokens_per_second"]:.0f} tokens/s')
            self.bar.update()
        self.write_events(**figures)

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
