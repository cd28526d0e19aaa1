"""Learns from rows that are put into a template: `train.py --template`. No TensorFlow."""

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from types import SimpleNamespace

import numpy as np
from tqdm import tqdm

from ..data.epochs import orders, padded_length
from ..data.read_text import find_files, read_rows
from ..encoder import read_encoder
from ..errors import UserError
from ..special_tokens import specials
from ..template import TEMPLATE, Row, Template
from .cluster import Cluster
from .job import Job
from .run_folder import RunFolder
from .start import Start, with_tokens

SIDES = {'left': 'beginning', 'right': 'end'}  # what a row loses on each


class Rows:
    """The rows of a dataset, each a window of its own: what training draws its batches from.

    longest: tokens in a window at most.
    """

    def __init__(self, rows: Sequence[Row], longest: int):
        self.rows, self.longest = rows, longest
        self.lengths = np.array([len(row.ids) for row in rows])

    def sample(self, length: int, random: np.random.Generator) -> np.ndarray:
        """What a row has before the field that is generated; `length` tokens at least."""
        row = self.rows[random.integers(len(self.rows))]
        return row.ids[: max(row.start, length)]

    def batches(
        self, n_vocab: int, seed: int, step: int, shape, noise: float = 0
    ) -> Iterator[tuple[np.ndarray, dict]]:
        """Yield (inputs, targets) [*shape, n] for `step` and those after it.

        A step's depend on `seed` and its number alone. A share `noise` of the inputs is replaced.
        """
        for number, chosen in enumerate(orders(self.lengths, seed, step, math.prod(shape)), step):
            ids, weights = arrays([self.rows[i] for i in chosen], self.longest)
            random = np.random.default_rng([seed, number])
            anything = random.integers(n_vocab, size=ids.shape, dtype=np.int32)
            inputs = np.where(random.random(ids.shape) < noise, anything, ids)
            targets = {'ids': ids, 'weights': weights}
            yield inputs.reshape(*shape, -1), {k: x.reshape(*shape, -1) for k, x in targets.items()}


def arrays(rows: Sequence[Row], longest: int) -> tuple[np.ndarray, np.ndarray]:
    """ids [rows, n], padded, and how often each counts, so that a mean over all but each row's
    first is one over those that count. n is one of few sizes, so that few are compiled.
    """
    n = min(longest, padded_length(max(len(row.ids) for row in rows)))
    ids, weights = np.zeros([len(rows), n], np.int32), np.zeros([len(rows), n], np.float32)
    for i, row in enumerate(rows):
        ids[i, : len(row.ids)], weights[i, : len(row.ids)] = row.ids, row.counts
    weights[:, 0] = 0  # nothing predicts it
    return ids, weights * (len(rows) * (n - 1) / weights.sum())


@dataclasses.dataclass(frozen=True)
class RowJob(Job):
    """A Job that learns what a template makes of rows; sampler and val_sampler are Rows."""

    template: Template

    def files(self) -> dict[str, bytes]:
        return super().files() | {TEMPLATE: self.template.to_text().encode()}

    def loss(self) -> Callable:
        from .loss import language_loss

        def loss(params, hparams, inputs, targets, **options):
            parts = inputs, targets['ids'], targets['weights']
            return language_loss(params, hparams, *parts, **options)

        return loss

    def batches(self, hparams, seed: int, step: int, shape, length: int) -> Iterator:
        return self.sampler.batches(hparams.n_vocab, seed, step, shape, self.flags.noise)

    def stops(self) -> list[str]:
        return [self.template.end] if self.template.end else []

    def mean_loss(self, trainer) -> float:
        """Of all tokens that count, of the first --val_batch_count batches of rows."""
        size, rows, total, count = self.flags.val_batch_size, self.val_sampler.rows, 0, 0
        starts = range(0, min(len(rows), size * self.flags.val_batch_count), size)
        for start in tqdm(starts, 'Validating', leave=False, disable=None):
            chosen = rows[start : start + size]
            ids, weights = arrays(chosen, self.val_sampler.longest)
            learnt = sum(int(row.counts[1:].sum()) for row in chosen)
            total += learnt * float(trainer.loss(ids, {'ids': ids, 'weights': weights}))
            count += learnt
        return total / count


def prepare(
    flags: SimpleNamespace,
    asked: SimpleNamespace,
    cluster: Cluster,
    folder: RunFolder,
    start: Start,
    say: Callable[[str], None],
) -> RowJob:
    """Read the rows, give the model the special tokens it lacks, and lock the run's folder.

    The rest is as in training.prepare. Raises UserError.
    """
    if flags.column is not None:
        raise UserError(f'--template says which columns count; leave out --column {flags.column}')
    if cluster.size > 1:
        raise UserError('--template trains on one machine; run: unset TF_CONFIG')
    if start.counter is not None:
        raise UserError(
            f'{folder.path} is the run of another program, on text; begin a new one from its '
            f'model: --run_name other --restore_from {start.prefix}'
        )
    enc = read_encoder(start.folder, start.hparams.n_vocab)
    tokens = names(flags.special_tokens)
    known = [] if start.facts else [token for token in tokens if token in specials(enc)]
    start, enc = with_tokens(start, enc, tokens)
    if start.added and flags.only_train_transformer_layers:
        raise UserError(
            '--only_train_transformer_layers leaves the new tokens of --special_tokens unlearnt; '
            'leave it out'
        )
    template = Template(flags.template, enc, names(flags.loss_on) or None)
    longest = flags.context_length or start.hparams.n_ctx
    sampler = val_sampler = read(flags.dataset, template, longest, flags, say)
    if flags.val_dataset:
        val_sampler = read(flags.val_dataset, template, longest, flags, say)
    if known:
        say(f'Tokens already, for which none are added: {", ".join(known)}')
    if not template.end:
        say('Nothing in the template ends what is generated; <|endoftext|> behind it would')
    lock, samplers = folder.lock(), (sampler, val_sampler)
    return RowJob(flags, asked, cluster, folder, lock, start, enc, *samplers, template)


def names(text: str | None) -> list[str]:
    """'one, two' -> ['one', 'two']; None -> []"""
    return [name.strip() for name in (text or '').split(',') if name.strip()]


def read(
    source: str,
    template: Template,
    longest: int,
    flags: SimpleNamespace,
    say: Callable[[str], None],
) -> Rows:
    """The rows of a .csv or .jsonl file, of a folder or pattern of some; says how many are cut.

    Raises UserError for what holds none, and for a row that lacks a field.
    """
    rows, number, cut = [], 0, 0
    for path in find_files(source, flags.encoding, say=say):
        lines = read_rows(path, flags.encoding)
        for line, fields in tqdm(lines, f'Reading {path}', delay=1, leave=False, disable=None):
            row = template.encode(fields, f'{path} line {line}')
            number, cut = number + 1, cut + (len(row.ids) > longest)
            row = shortened(row, longest, flags.cut)
            if row.counts[1:].any():
                rows.append(row)
    if cut:
        lost = SIDES[flags.cut]
        say(f'{source}: rows of more than {longest:,} tokens, which lose their {lost}: {cut:,}')
    if left := number - len(rows):
        say(f'{source}: rows without anything to learn, which are left out: {left:,}')
    if not rows:
        raise UserError(f'{source} holds no row to learn from; name a file that does')
    say(f'{source}: {sum(len(row.ids) for row in rows):,} tokens in {len(rows):,} rows')
    return Rows(rows, longest)


def shortened(row: Row, longest: int, side: str) -> Row:
    """A row without what is too much of it on one side, left or right."""
    extra = max(len(row.ids) - longest, 0)
    if side == 'left':
        return Row(row.ids[extra:], row.counts[extra:], max(row.start - extra, 0))
    return Row(row.ids[:longest], row.counts[:longest], min(row.start, longest))
