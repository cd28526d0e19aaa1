"""The training loop: batch, step, report, validate, sample, save."""

import contextlib
import itertools
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

import tensorflow as tf

from .. import runtime
from ..checkpoint import load_params
from ..data.load_dataset import batches
from ..params import init_params
from .distribution import agree, gather, get_strategy, lost, mirror
from .interrupts import Interrupts
from .prepare import Job
from .progress import Progress
from .report import Report
from .samples import write_samples
from .schedule import learning_rate_at
from .trainer import Trainer
from .validation import validate

OPTIONS = (  # the flags that are the trainer's too
    *('optimizer', 'weight_decay', 'clip_norm', 'dropout', 'precision'),
    *('memory_saving_gradients', 'only_train_transformer_layers'),
)
LESS = (
    'try, one after another: --batch_size 1, --memory_saving_gradients, a smaller '
    '--context_length, --only_train_transformer_layers, --optimizer sgd'
)


def train(job: Job, say: Callable[[str], None]) -> int:
    """Train until --max_steps or an interrupt, save, and return how many steps the run has.

    say: is told each line of what happens. Raises UserError where the memory is too small,
    a figure is none, or another worker is gone.
    """
    cluster = job.cluster
    if job.flags.precision == 'float16' and not tf.config.list_physical_devices('GPU'):
        print('float16 is very slow without a GPU; bfloat16 is not', file=sys.stderr)
    cluster.meet(say)
    try:
        with job.lock, runtime.explained(LESS):
            strategy = get_strategy(cluster)
            trainer, progress, drawn = begin(job, strategy, say)
            silent = not cluster.is_chief
            report = Report(progress, job.folder.path, job.flags.max_steps, say, silent)
            interrupts = Interrupts(patient=cluster.size > 1)
            with contextlib.suppress(KeyboardInterrupt):
                loop(job, trainer, progress, report, drawn, interrupts)
            with contextlib.suppress(KeyboardInterrupt), interrupts:
                save(job, trainer, progress, report)
            gather(strategy, [progress.step])  # none leaves while another needs it
    except tf.errors.OpError as error:
        if cluster.size == 1:
            raise
        raise lost(error) from error
    report.bar.close()
    return progress.step


def begin(job: Job, strategy: tf.distribute.Strategy, say) -> tuple[Trainer, Progress, Iterator]:
    """The model, where its training stands, and the batches from there on."""
    flags, start = job.flags, job.start
    step, seed, resumes, hparams, length = agree(strategy, job)
    if start.prefix:
        say(f'Loading checkpoint {start.prefix}')
        params = load_params(start.prefix, hparams)
    else:
        params = init_params(hparams, seed)
    params = mirror(strategy, params)
    with strategy.scope():
        options = {name: getattr(flags, name) for name in OPTIONS}
        trainer = Trainer(params, hparams, seed=seed, **options)
    if resumes:
        trainer.restore(start.state)
    progress = Progress(seed, step, saved=step)
    if start.facts:
        progress.average, progress.best = start.facts['average'], start.facts['best']
        say(f'Going on with {job.folder.path} after step {step}, with its own model and seed')
    elif job.cluster.is_chief:
        job.folder.begin(start.folder, hparams, say)
    shape = [flags.accumulate_gradients, flags.batch_size * trainer.replicas]
    drawn = batches(job.sampler, hparams.n_vocab, seed, step, shape, length, flags.noise)
    return trainer, progress, drawn


def loop(
    job: Job,
    trainer: Trainer,
    progress: Progress,
    report: Report,
    drawn: Iterator,
    interrupts: Interrupts,
) -> None:
    """Train until --max_steps or an interrupt."""
    flags, is_chief = job.flags, job.cluster.is_chief
    schedule = (flags.warmup_steps, flags.decay_steps, flags.min_learning_rate)
    left = range(progress.step, flags.max_steps) if flags.max_steps else itertools.count()
    for _, (batch, waited) in zip(left, read_ahead(drawn), strict=False):
        began = time.time()
        with interrupts:
            rate = learning_rate_at(progress.step, flags.learning_rate, *schedule)
            loss, norm, stop = trainer.step(*batch, rate, progress.step, interrupts.asked)
            progress.advance(loss, norm)
        took = time.time() - began + waited
        report.step(
            loss=loss,
            gradient_norm=norm,
            learning_rate=rate,
            tokens_per_second=batch[1].size / took,
            input_share=waited / took,  # of the time, spent waiting for the batch
        )
        if is_chief and progress.is_time(flags.val_every):
            validate(job, trainer, progress, report)
        if is_chief and progress.is_time(flags.sample_every):
            write_samples(job, trainer, progress, report)
        if progress.is_time(flags.save_every):
            with interrupts:
                save(job, trainer, progress, report)
        if stop:
            return


def read_ahead(items: Iterable) -> Iterator[tuple]:
    """Yield each item and the seconds waited for it; the next is made while one is used."""
    items, end = iter(items), object()
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(next, items, end)
        while True:
            began = time.time()
            item = coming.result()
            if item is end:
                return
            waited = time.time() - began
            coming = pool.submit(next, items, end)
            yield item, waited


def save(job: Job, trainer: Trainer, progress: Progress, report: Report) -> None:
    """Write a checkpoint, unless this step has one."""
    if progress.saved == progress.step:
        return
    norm = tf.linalg.global_norm(tf.nest.flatten(trainer.local))
    progress.check('norm of the parameters', float(norm))
    progress.saved = progress.step
    if not job.cluster.is_chief:
        return
    flags = job.flags
    report.line(f'Saving {job.folder.path}/model-{progress.step}')
    facts = progress.facts() | {'flags': vars(flags)}
    job.folder.save(progress.step, trainer.local, trainer.state(), facts, flags.keep_checkpoints)
    report.flush()
