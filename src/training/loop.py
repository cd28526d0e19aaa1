"""The training loop: batch, step, report, validate, sample, save."""

import contextlib
import itertools
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

import tensorflow as tf

from .. import runtime
from ..errors import UserError
from .distribution import agree, gather, get_strategy, lost, mirror
from .explosion import warn
from .interrupts import Interrupts
from .job import Job
from .picture import write_picture
from .progress import Progress
from .report import Report
from .samples import write_samples
from .start import other_start
from .trainer import Trainer
from .validation import validate

OPTIONS = (  # the flags that are the trainer's too
    *('optimizer', 'beta1', 'beta2', 'weight_decay', 'clip_norm', 'dropout', 'precision'),
    *('memory_saving_gradients', 'only_train_transformer_layers'),
)
LESS = (
    'try, one after another: --batch_size 1, --memory_saving_gradients, a smaller '
    '--context_length, --only_train_transformer_layers, --optimizer sgd'
)


def train(job: Job, say: Callable[[str], None]) -> int:
    """Train until --max_steps or an interrupt, save, and return how many steps the run has.

    say: is told each line of what happens. Raises UserError where the memory is too small,
    a figure is none, or another worker is gone; and what `say` raised of OSError, once all is
    saved.
    """
    cluster = job.cluster
    if job.flags.precision == 'float16' and not tf.config.list_physical_devices('GPU'):
        print('float16 is very slow without a GPU; bfloat16 is not', file=sys.stderr)
    cluster.meet(say)
    try:
        with job.lock, runtime.explained(LESS):
            strategy = get_strategy(cluster) if job.distributed else tf.distribute.get_strategy()
            trainer, progress, drawn = begin(job, strategy, say)
            interrupts = Interrupts(patient=cluster.size > 1)
            telling = (job.flags.max_steps, say, not cluster.is_chief, interrupts)
            report = Report(progress, job.folder.path, *telling, job.flags.log_every)
            with interrupts.heeded():
                loop(job, trainer, progress, report, drawn, interrupts)
            with contextlib.suppress(KeyboardInterrupt), interrupts:
                save(job, trainer, progress, report)
                draw(job, progress)
            gather(strategy, [progress.step])  # none leaves while another needs it
    except tf.errors.OpError as error:
        if cluster.size == 1:
            raise
        raise lost(error) from error
    report.close()
    if report.unheard:
        raise report.unheard
    return progress.step


def begin(job: Job, strategy: tf.distribute.Strategy, say) -> tuple[Trainer, Progress, Iterator]:
    """The model, where its training stands, and the batches from there on."""
    flags, start = job.flags, job.start
    step, seed, resumes, hparams, length = agree(strategy, job)
    if start.prefix:
        say(f'Loading checkpoint {start.prefix}')
    try:
        params = job.params(hparams, seed)
    except UserError as error:
        if start.prefix is None or start.folder == start.prefix.parent:
            raise
        what_mends = 'or set --model_name to the model that it was tuned from'
        raise UserError(f'{error}, {what_mends}') from error
    params = mirror(strategy, params)
    with strategy.scope():
        options = {name: value for name, value in vars(flags).items() if name in OPTIONS}
        trainer = Trainer(params, hparams, seed=seed, loss=job.loss(), **options)
    if resumes:
        try:
            trainer.restore(start.state)
        except UserError as error:
            raise UserError(f'{error}, or {other_start(job.folder, step)}') from error
    progress = Progress(seed, step, saved=step)
    if start.facts:
        progress.average, progress.best = start.facts['average'], start.facts['best']
        progress.remember(job.folder.losses.read(step, progress.average))
        say(f'Going on with {job.folder.path} after step {step}, with its own model and seed')
    elif start.counter is not None:
        say(f'Going on with {job.folder.path} after step {step}; its optimizer starts afresh')
        job.folder.complete(start.folder, hparams)
    elif job.cluster.is_chief:
        job.folder.begin(start.folder, hparams, say, job.files())
    shape = [flags.accumulate_gradients, flags.batch_size * trainer.replicas]
    return trainer, progress, job.batches(hparams, seed, step, shape, length)


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
    left = range(progress.step, flags.max_steps) if flags.max_steps else itertools.count()
    for _, (batch, waited) in zip(left, read_ahead(drawn), strict=False):
        began = time.time()
        with interrupts:
            rate = job.learning_rate(progress.step)
            loss, norm, stop = trainer.step(*batch, rate, progress.step, interrupts.asked)
            progress.advance(loss, norm)
            took = time.time() - began + waited
            report.step(
                loss=loss,
                gradient_norm=norm,
                learning_rate=rate,
                tokens_per_second=batch[0].size / took,
                input_share=waited / took,  # of the time, spent waiting for the batch
            )
        if is_chief and progress.is_time(flags.val_every):
            validate(job, trainer, progress, report)
        if is_chief and progress.is_time(flags.sample_every):
            try:
                write_samples(job, trainer, progress, report)
            except (OSError, UserError):  # the steps so far are not to be lost with it
                with interrupts:
                    save(job, trainer, progress, report)
                raise
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
    before, progress.saved = progress.saved, progress.step
    rows, progress.rows = progress.rows, []
    if not job.cluster.is_chief:
        return
    flags = job.flags
    good = warn(job, progress, report)
    report.line(f'Saving {job.folder.path}/model-{progress.step}')
    facts, state = progress.facts() | {'flags': vars(flags)}, trainer.state()
    steps = {'saved': before, 'rows': rows, 'good': good}
    job.folder.save(progress.step, trainer.local, state, facts, flags.keep_checkpoints, **steps)
    report.flush()


def draw(job: Job, progress: Progress) -> None:
    """losses.svg, of the whole run."""
    of_run = job.folder.losses.read
    if job.cluster.is_chief and (rows := of_run(progress.step, progress.average)):
        write_picture(job.folder.path / 'losses.svg', job.folder.path.name, rows)
