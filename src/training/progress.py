"""Where a run stands. No TensorFlow."""

import dataclasses
import math

from ..errors import UserError


@dataclasses.dataclass
class Progress:
    """What changes as a run goes on, beside the parameters and the optimizer's memory."""

    seed: int  # of the batches, the noise, the dropout and the samples
    step: int = 0  # how many are done
    average: tuple[float, float] = (0.0, 0.0)  # of the losses: their weighted sum, the weights'
    best: float | None = None  # the lowest validation loss
    saved: int = 0  # the step of the last checkpoint

    def advance(self, loss: float, norm: float) -> None:
        """Count a step that is done; UserError where one of its figures is none."""
        self.step += 1
        self.check('loss', loss)
        self.check('norm of the gradient', norm)
        self.average = (0.99 * self.average[0] + loss, 0.99 * self.average[1] + 1)

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
