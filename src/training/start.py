"""Where a run starts: at a model, at random, or where it, or another program's run, stopped."""

import dataclasses
import re
import shlex
from collections.abc import Iterable
from pathlib import Path

from ..encoder import Encoder, read_encoder
from ..errors import UserError
from ..hparams import HParams, default_hparams
from ..model_folder import (
    VOCABULARY,
    checkpoint_prefix,
    find_model,
    find_prefix,
    load_hparams,
    vocabulary_of,
)
from ..special_tokens import extended, vocabulary_files
from .run_folder import RunFolder


@dataclasses.dataclass(frozen=True)
class Start:
    """What a run starts from."""

    folder: Path  # with the vocabulary
    hparams: HParams | None = None  # None: the chief of the workers will say
    prefix: Path | None = None  # of the parameters; None: random ones
    state: Path | None = None  # where a run resumes: the prefix of what it must remember,
    facts: dict | None = None  # and what JSON said of it
    counter: int | None = None  # where a run resumes that another program began: its last step
    added: int = 0  # how many tokens there are that the parameters under prefix lack,
    vocabulary: dict = dataclasses.field(default_factory=dict)  # and files that know them


def find_start(
    run: RunFolder, restore_from: str, model_name: str, models_dir, shape: dict
) -> Start:
    """Where --restore_from, latest, fresh, scratch or a checkpoint, says that `run` starts.

    shape: hyperparameters for scratch, None where hparams.json says them. Raises UserError
    where there is no such thing.
    """
    shape = {name: value for name, value in shape.items() if value is not None}
    if restore_from == 'scratch':
        folder = find_model(model_name, models_dir, files=VOCABULARY)
        enc = read_encoder(folder)
        known = (folder / 'hparams.json').exists()
        hparams = load_hparams(folder) if known else default_hparams()
        return Start(folder, hparams.override_from_dict({'n_vocab': len(enc.decoder)} | shape))
    if restore_from == 'latest' and run.has_checkpoint():
        prefix = checkpoint_prefix(run.path)
    elif restore_from in ('latest', 'fresh'):
        prefix = find_prefix(model_name, models_dir)
    elif Path(restore_from).is_dir() or Path(f'{restore_from}.index').exists():
        prefix = checkpoint_prefix(restore_from)
    else:
        raise UserError(
            f'there is no {restore_from}; set --restore_from to latest, fresh, scratch, '
            'or a checkpoint'
        )
    folder = prefix.parent
    if _lacks_model_files(folder):
        folder = find_model(model_name, models_dir, files=(*VOCABULARY, 'hparams.json'))
    start = Start(folder, load_hparams(folder), prefix)
    wanted = dataclasses.replace(start.hparams).override_from_dict(shape)
    for name, value in shape.items():
        if getattr(wanted, name) != getattr(start.hparams, name):
            raise UserError(
                f'{prefix} has {name} {getattr(start.hparams, name)}, not {value}; leave out '
                f'--{name}, or add --restore_from scratch for a new model'
            )
    step = re.fullmatch(r'model-(\d+)', prefix.name)
    if step is None or prefix.parent.resolve() != run.path.resolve():
        return start
    return _go_on(start, run, int(step[1]))


def with_tokens(start: Start, enc: Encoder, tokens: Iterable[str]) -> tuple[Start, Encoder]:
    """The start of a run whose model gets special tokens, as far as it lacks them; its encoder."""
    wider, n_vocab = extended(enc, tokens), start.hparams.n_vocab
    if wider is enc:
        return start, enc
    hparams = dataclasses.replace(start.hparams, n_vocab=len(wider.decoder))
    more = {'added': hparams.n_vocab - n_vocab, 'vocabulary': vocabulary_files(wider)}
    return dataclasses.replace(start, hparams=hparams, **more), wider


def _lacks_model_files(folder: Path) -> bool:
    """Whether nshepperd's fork, which writes no vocabulary and no hparams.json, left the folder."""
    wanted = [*vocabulary_of(folder), 'hparams.json']
    lacking = [name for name in wanted if not (folder / name).exists()]
    return lacking == wanted or bool(lacking) and (folder / 'counter').exists()


def _go_on(start: Start, run: RunFolder, step: int) -> Start:
    """With what the run remembers of a step; of one by another program, there is its number."""
    counter = run.path / 'counter'
    if counter.exists() and not any(run.path.glob(f'state-{step}.*')):
        return dataclasses.replace(start, counter=_last_step(counter, run, step))
    try:
        facts = run.remembered(step)
    except ValueError as error:
        raise UserError(f'{error}; {other_start(run, step)}') from error
    return dataclasses.replace(start, state=run.path / f'state-{step}', facts=facts)


def other_start(run: RunFolder, step: int) -> str:
    """The end of a sentence about a step that a run cannot go on from: the flags that mend it."""
    whole = max((number for number in run.whole_steps() if number != step), default=None)
    if whole is not None:
        flags = ['--restore_from', f'{run.path}/model-{whole}']
        return f'go on from another checkpoint: {shlex.join(flags)}'
    flags = ['--run_name', 'other', '--restore_from', f'{run.path}/model-{step}']
    return f'begin a new run from its model: {shlex.join(flags)}'


def _last_step(counter: Path, run: RunFolder, step: int) -> int:
    """How many steps another program's run has.

    `counter` holds the number of the checkpoint that was saved last, and the step after it has
    the next number, in nshepperd's fork and in gpt-2-simple. An earlier checkpoint has its own
    number, and so has one whose saving ended before `counter` was written.
    """
    try:
        number = int(counter.read_text('utf-8'))
        if not 0 <= number < 2**62:
            raise ValueError(f'it holds {number}')
    except (OSError, ValueError) as error:
        raise UserError(f'{counter} is damaged: {error}; write the last step in it') from error
    is_last = checkpoint_prefix(run.path).name == f'model-{step}'
    return max(step, number) if is_last else step
