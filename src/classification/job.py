"""What the training of a classifier needs; the loop and the run's folder are train.py's."""

import dataclasses
import functools
from collections.abc import Callable, Collection
from types import SimpleNamespace
from typing import ClassVar

from ..data.epochs import steps_per_epoch
from ..encoder import read_encoder
from ..errors import UserError
from ..paths import expanded
from ..training.cluster import ALONE
from ..training.commands import command
from ..training.flags import check_flags, flags_of_run
from ..training.job import Job
from ..training.run_folder import TASK, RunFolder
from ..training.schedule import linear_rate_at
from ..training.start import find_start, with_tokens
from .cloze import accuracies, by_pattern, encode, read_patterns
from .rows import Examples, labels_of, load_rows
from .task import CHOSEN, KINDS, TOKENS, Task, read_task

HELD_OUT = 10  # each such row is for validation, where no file is named for it
COLUMNS = ('text', 'second', 'choices', 'label')


@dataclasses.dataclass(frozen=True)
class ClassificationJob(Job):
    """A Job that learns a task; sampler and val_sampler are Examples."""

    task: Task
    weights: list = dataclasses.field(default_factory=list)  # of a cloze's patterns, once known
    command: ClassVar[str] = 'classify.py train'
    distributed: ClassVar[bool] = False

    def files(self) -> dict[str, bytes]:
        task = dataclasses.replace(self.task, weights=tuple(self.weights))
        return super().files() | {TASK: task.to_text().encode()}

    def params(self, hparams, seed: int) -> dict:
        import tensorflow as tf

        from .head import load_head, new_head

        params, task = super().params(hparams, seed), self.task
        if task.kind == 'cloze':
            self._weigh(params, hparams)
            return params
        if self.start.facts:
            return params | {'head': load_head(self.start.prefix)}
        labels = [example.label for example in self.sampler.examples]
        mean = sum(labels) / len(labels) if task.kind == 'regression' else 0
        random = tf.random.Generator.from_seed(seed)
        random.normal([self.start.added, hparams.n_embd])  # those of the new tokens
        head = new_head(hparams, task.outputs, self.flags.head_bias, random, mean)
        return params | {'head': head}

    def _weigh(self, params: dict, hparams) -> None:
        """Weigh the patterns by their accuracy on the rows before training, as PET does."""
        from .classifier import Classifier

        if not self.start.facts:
            figures = Classifier(params, hparams, self.task).figures(self.sampler.examples)
            labels = self.sampler.labels[: len(figures) // len(self.task.patterns)]
            self.weights[:] = accuracies(by_pattern(figures, self.task), labels)

    def loss(self) -> Callable:
        from .head import joint_loss

        flags = self.flags
        options = {'lm_weight': flags.lm_weight, 'head_dropout': flags.head_dropout}
        return functools.partial(joint_loss, kind=self.task.kind, **options)

    def batches(self, hparams, seed: int, step: int, shape, length: int):
        return self.sampler.batches(seed, step, shape)

    def learning_rate(self, step: int) -> float:
        flags = self.flags
        total = total_steps(flags, self.sampler)
        return linear_rate_at(step, flags.learning_rate, round(flags.warmup * total), total)

    def validation(self, trainer) -> dict[str, float]:
        from .classifier import Classifier, measure

        classifier = Classifier(trainer.local, trainer.hparams, self.task)
        figures = classifier.figures(self.val_sampler.examples, 'Validating')
        found = measure(figures, self.val_sampler.labels, self.task.kind)
        return {'validation_loss': found.pop('loss')} | found


def total_steps(flags: SimpleNamespace, examples: Examples) -> int:
    size = flags.batch_size * flags.accumulate_gradients
    return steps_per_epoch(len(examples.examples), size) * flags.epochs


def prepare(
    flags: SimpleNamespace, say: Callable[[str], None], given: Collection[str] | None = None
) -> ClassificationJob:
    """Check the flags, find the model, read the rows, and lock the run's folder.

    say, given: as training.prepare has them. Raises UserError.
    """
    flags = SimpleNamespace(**vars(flags), sample_every=0, context_length=None)
    folder, asked = RunFolder(flags.run_name), flags
    check(flags)
    if not folder.has_checkpoint():
        _check_rows(flags)
    models = (flags.model_name, flags.models_dir)
    start, known = find_start(folder, expanded(flags.restore_from), *models, {}), None
    if start.facts:
        known = read_task(folder.path)
        flags = flags_of_run(flags, vars(flags) if given is None else given, start.facts, say)
        check(flags)
    _check_rows(flags)
    rows = load_rows(flags.task, flags.encoding)
    task = known or new_task(flags, rows)
    enc = read_encoder(start.folder, start.hparams.n_vocab)
    if task.kind != 'cloze':
        start, enc = with_tokens(start, enc, TOKENS)
    samplers = read_examples(flags, task, rows, enc, start.hparams.n_ctx)
    set_steps(flags, *samplers)
    lock = folder.lock()
    return ClassificationJob(flags, asked, ALONE, folder, lock, start, enc, *samplers, task)


def _check_rows(flags: SimpleNamespace) -> None:
    if flags.task is None:
        raise UserError(
            'no rows are named to learn from; run: python classify.py train --task FILE'
        )


def check(flags: SimpleNamespace) -> None:
    """Raise UserError for the first flag that is out of its range."""
    if flags.kind not in KINDS:
        raise UserError(f'--kind is {", ".join(KINDS)}, not {flags.kind}')
    if (flags.kind == 'cloze') != (flags.patterns is not None):
        raise UserError('--kind cloze and --patterns FILE go together; set both, or none')
    check_flags(flags)


def new_task(flags: SimpleNamespace, rows: list) -> Task:
    """What the flags and the rows say of a task."""
    columns = {name: getattr(flags, name) for name in COLUMNS}
    if flags.kind == 'cloze':
        return read_patterns(flags.patterns, columns['label'])
    task = Task(flags.kind, **columns)
    pairs = task.kind == 'regression' and task.second in rows[0][1]
    labels = labels_of(rows, task, flags.task) if task.kind in CHOSEN else ()
    return dataclasses.replace(task, labels=labels, pairs=pairs)


def read_examples(flags, task: Task, rows: list, enc, n_ctx: int) -> tuple[Examples, Examples]:
    """Those to learn from, and those to validate by: of --val_task, else every tenth row."""
    val_rows, val_path = [], flags.val_task or flags.task
    if flags.val_task:
        val_rows = load_rows(flags.val_task, flags.encoding)
    elif flags.val_every != 0:
        val_rows = rows[HELD_OUT - 1 :: HELD_OUT]
        rows = [row for i, row in enumerate(rows, start=1) if i % HELD_OUT]
    return tuple(
        Examples(encode(those, task, enc, n_ctx, path), n_ctx)
        for those, path in ((rows, flags.task), (val_rows, val_path))
    )


def set_steps(flags: SimpleNamespace, sampler: Examples, val_sampler: Examples) -> None:
    """Of the flags that are None what the number of rows says: all epochs, a validation after
    each."""
    total = total_steps(flags, sampler)
    flags.max_steps = total if flags.max_steps is None else min(flags.max_steps, total)
    if flags.val_every is None:
        flags.val_every = total // flags.epochs
    if not val_sampler.examples:
        flags.val_every = 0


def last_lines(job: ClassificationJob, step: int) -> list[str]:
    """What is said at the end of a run of so many steps."""
    path, lines = job.folder.path, []
    if step < total_steps(job.flags, job.sampler):
        lines.append(f'Go on: {command(job.command, run_name=path.name)}')
    best = path / 'best' if (path / 'best' / 'checkpoint').exists() else path
    lines.append(f'Try: {command("classify.py predict FILE", model_name=best)}')
    return lines
