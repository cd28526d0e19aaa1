"""The validation loss, and the best model by it."""

import itertools
import math

import tensorflow as tf
from tqdm import tqdm

from ..data.load_dataset import batches
from .prepare import Job
from .progress import Progress
from .report import Report
from .trainer import Trainer


def validate(job: Job, trainer: Trainer, progress: Progress, report: Report) -> None:
    """The loss and perplexity on the same windows each time; the best model is kept."""
    loss = validation_loss(job, trainer)
    perplexity = math.exp(min(loss, 700))
    report.line(f'validation loss = {loss:.4f} perplexity = {perplexity:.2f}')
    report.write_events(validation_loss=loss, perplexity=perplexity)
    if math.isfinite(loss) and (progress.best is None or loss < progress.best):
        progress.best = loss
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
