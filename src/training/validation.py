"""The validation loss, and the best model by it."""

import itertools

import tensorflow as tf
from tqdm import tqdm

from ..data.load_dataset import batches
from .job import Job
from .progress import Progress
from .report import Report
from .trainer import Trainer


def validate(job: Job, trainer: Trainer, progress: Progress, report: Report) -> None:
    """The figures on the same data each time; the model with the lowest loss is kept."""
    figures = job.validation(trainer)
    shown = [
        f'{name.replace("_", " ")} = {figure:{".2f" if name == "perplexity" else ".4f"}}'
        for name, figure in figures.items()
    ]
    report.line(' '.join(shown))
    report.write_events(**figures)
    if progress.validated(next(iter(figures.values()))):
        job.folder.save_best(progress.step, trainer.local)


def validation_loss(job: Job, trainer: Trainer) -> float:
    """The mean loss of --val_batch_count batches."""
    flags, hparams = job.flags, trainer.hparams
    shape = [1, flags.val_batch_size]
    length = min(flags.context_length or hparams.n_ctx, job.val_sampler.longest)
    drawn = batches(job.val_sampler, hparams.n_vocab, 1, 0, shape, length)
    bar = tqdm(
        itertools.islice(drawn, flags.val_batch_count),
        'Validating',
        total=flags.val_batch_count,
        leave=False,
        disable=None,
    )
    losses = [float(trainer.loss(tf.constant(tokens[0]))) for tokens, _ in bar]
    return sum(losses) / len(losses)
