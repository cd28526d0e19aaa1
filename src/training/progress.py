"""Where a run stands. No TensorFlow."""

import collections
import dataclasses
import math
from collections.abc import Iterable

from ..errors import UserError
from .losses import Loss

RECENT = 10  # steps whose mean loss shows whether it explodes
TOO_HIGH, LEAST = 10, 0.1  # so many times the lowest average, or this where that is less


@dataclasses.dataclass
class Progress:
    """What changes as a run goes on, beside the parameters and the optimizer's memory."""

    seed: int  # of the batches, the noise, the dropout and the samples
    step: int = 0  # how many are done
    average: tuple[float, float] = (0.0, 0.0)  # of the losses: their weighted sum, the weights'
    best: float | None = None  # the lowest validation loss
    saved: int = 0  # the step of the last checkpoint
    validation: float | None = None  # the last validation loss
    lowest: float = math.inf  # average of the losses, in the whole run
    rows: list[Loss] = dataclasses.field(default_factory=list)  # since the last checkpoint
    recent: collections.deque = dataclasses.field(  # the last losses
        default_factory=lambda: collections.deque(maxlen=RECENT)
    )

    def remember(self, history: Iterable[Loss]) -> None:
        """Take over what the losses of the steps so far say."""
        for row in history:
            self.recent.append(row.loss)
            self.lowest = min(self.lowest, row.average)
            if row.validation is not None:
                self.validation = row.validation

    def advance(self, loss: float, norm: float) -> None:
        """Count a step that is done; UserError where one of its figures is none."""
        self.step += 1
        self.check('loss', loss)
        self.check('norm of the gradient', norm)
        self.average = (0.99 * self.average[0] + loss, 0.99 * self.average[1] + 1)
        self.rows.append(Loss(self.step, loss, self.average[0] / self.average[1]))
        self.remember(self.rows[-1:])

    def validated(self, loss: float) -> bool:
        """Note the validation loss after this step; whether it is the lowest so far."""
        self.validation = loss
        if not math.isfinite(loss):
            return False
        if self.rows:
            self.rows[-1] = self.rows[-1]._replace(validation=loss)
        if self.best is not None and loss >= self.best:
            return False
        self.best = loss
        return True

    def explodes(self, losses: Iterable[float] | None = None) -> bool:
        """Whether the last losses, or these, are far above the lowest average of the run."""
        losses = list(self.recent if losses is None else losses)
        return bool(losses) and sum(losses) / len(losses) > TOO_HIGH * max(self.lowest, LEAST)

    def check(self, what: str, figure: float) -> None:
        """Stop, before it is saved, where a figure is none."""
        if not math.isfinite(figure):
            raise UserError(
                f'the {what} is {figure} at step {self.step}, and nothing was saved since step '
                f'{self.saved}; try a lower --learning_rate, or --clip_norm 1'
            )

    def is_time(self, every: int) -> bool:
        """Whether what happens every so many steps, 0 for never, happens after this one."""
        return every > 0 and self.step % every == 0

    def facts(self) -> dict:
        """What a checkpoint remembers of it."""
        return {
            'step': self.step,
            'average': list(self.average),
            'best': self.best,
            'seed': self.seed,
        }
