"""losses.csv: the loss of each of a run's steps. No TensorFlow."""

import contextlib
import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from .. import files

HEADER = 'step,loss,average,validation\n'


class Loss(NamedTuple):
    """Of one step; validation: None where it was not computed after it."""

    step: int
    loss: float
    average: float
    validation: float | None = None


class Losses:
    """A file that only grows, by whole lines, before each checkpoint is written.

    A run that goes back, or is killed before it has saved what it wrote here, appends its steps
    again. A checkpoint's are those before its own, which its average tells from others of the
    same step: so each has all of its losses, whenever a process dies.
    """

    def __init__(self, path: Path):
        self.path, self.end = path, None

    def append(self, rows: Sequence[Loss]) -> None:
        """Write steps, behind the last whole line. Raises UserError where that cannot be."""
        if not rows:
            return
        if self.end is None:
            if not self.path.exists():
                files.write(self.path, HEADER)
            self.end = self.path.read_bytes().rfind(b'\n') + 1  # a killed process left the rest
        lines = [
            f'{row.step},{row.loss:.6g},{row.average:.6g},{"" if v is None else f"{v:.6g}"}\n'
            for row in rows
            for v in [row.validation]
        ]
        self.end = files.append(self.path, ''.join(lines), self.end)

    def read(self, step: int, average: Sequence[float] | None = None) -> list[Loss]:
        """The steps that led to this one, as far as they are there.

        average: of the losses at this step, (their weighted sum, the weights').
        """
        if not self.path.exists():
            return []
        lines = self.path.read_text('utf-8', 'replace').splitlines(keepends=True)
        rows = [row for row in map(_parse, lines) if row]
        ends = [i for i, row in enumerate(rows) if row.step == step]
        if average:
            mean = f'{average[0] / max(average[1], 1):.6g}'
            ends = [i for i in ends if f'{rows[i].average:.6g}' == mean] or ends
        found, bound = [], step + 1
        for row in reversed(rows[: ends[-1] + 1] if ends else rows):
            if row.step < bound:
                found.append(row)
                bound = row.step
        return found[::-1]


def _parse(line: str) -> Loss | None:
    """'7,2.5,2.75,\\n' -> Loss(7, 2.5, 2.75); None for what is no whole line of figures."""
    with contextlib.suppress(ValueError):
        step, *figures, validation = line.removesuffix('\n').split(',')
        loss, average = map(float, figures)
        row = Loss(int(step), loss, average, float(validation) if validation else None)
        if line.endswith('\n') and all(map(math.isfinite, (loss, average, row.validation or 0))):
            return row
    return None
