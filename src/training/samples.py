"""Samples of the model that is being trained."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from .. import files
from ..completion import complete
from ..loading import Model
from ..options import SamplingOptions
from .job import Job
from .progress import Progress
from .report import Report
from .trainer import Trainer


def write_samples(job: Job, trainer: Trainer, progress: Progress, report: Report) -> None:
    """Tell some as they are drawn, and write them to samples/<run>/samples-<step>."""
    texts, framed = [], []
    for number, text in enumerate(draw_samples(job, trainer, progress), start=1):
        texts.append(text)
        framed.append(f'======== SAMPLE {number} ========\n{text}\n')
        report.line(f'\n{framed[-1]}')
    folder = Path('samples') / job.folder.path.name
    folder.mkdir(parents=True, exist_ok=True)
    files.sweep(folder)
    files.write(folder / f'samples-{progress.step}', '\n'.join(framed))
    report.write_events(samples=texts)


def draw_samples(job: Job, trainer: Trainer, progress: Progress) -> Iterator[str]:
    """Yield --sample_num texts, each of which continues a token of the dataset, or a row."""
    flags, model = job.flags, Model(trainer.local, trainer.hparams, job.enc)
    options = SamplingOptions(
        length=min(flags.sample_length, trainer.hparams.n_ctx),
        top_k=0 if flags.top_p else flags.top_k,
        top_p=flags.top_p or 1,
        seed=progress.seed + progress.step,
        stop=job.stops(),
    )
    for number in range(flags.sample_num):
        random = np.random.default_rng([progress.seed, progress.step, number])
        context = job.sampler.sample(1, random).tolist()
        [text] = complete(model, [context], options, numbers=[number])
        yield job.enc.decode([*context, *text.tokens])
