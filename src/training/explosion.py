"""Warns of a loss that explodes, before it is saved as the latest. No TensorFlow."""

from .commands import going_back
from .job import Job
from .progress import RECENT, Progress
from .report import Report


def warn(job: Job, progress: Progress, report: Report) -> int | None:
    """Say where the loss explodes, and how to go back; the step of the last good checkpoint."""
    if not progress.explodes():
        return None
    loss, good = sum(progress.recent) / len(progress.recent), last_good(job, progress)
    rate = job.flags.learning_rate / 10
    mend = f'no checkpoint before is good; begin again with --learning_rate {rate:g}'
    if good is not None:
        back = going_back(job, good, rate)
        mend = f'the last good checkpoint is {job.folder.path}/model-{good}; go back: {back}'
    report.line(f'Warning: the loss is {loss:.2f}, the best average {progress.lowest:.2f}; {mend}')
    return good


def last_good(job: Job, progress: Progress) -> int | None:
    """The highest step that has a checkpoint from before the loss exploded."""
    for step in sorted(job.folder.whole_steps(), reverse=True):
        average = job.folder.remembered(step)['average']
        losses = [row.loss for row in job.folder.losses.read(step, average)[-RECENT:]]
        if not progress.explodes(losses or [average[0] / max(average[1], 1)]):
            return step
    return None
