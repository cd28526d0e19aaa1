"""A training run's folder: a model folder that grows a checkpoint at a time, and can resume."""

import contextlib
import dataclasses
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

from .. import files
from ..encoder import read_encoder
from ..errors import UserError
from ..hparams import HParams, default_hparams
from ..model_folder import checkpoint_prefix, find_model, load_hparams

VOCABULARY = ('encoder.json', 'vocab.bpe')


class RunFolder:
    """checkpoint/<run>/: model-<step>.* in OpenAI's format, `checkpoint`, the vocabulary and
    hparams.json; beside them state-<step>.*, what resuming needs; and best/, a model folder too.
    """

    def __init__(self, run_name: str, parent='checkpoint'):
        self.path = Path(parent) / run_name
        if run_name in ('', '..') or self.path.parent != Path(parent):
            raise UserError(f'--run_name is the name of a folder in {parent}, not {run_name!r}')

    def has_checkpoint(self) -> bool:
        return (self.path / 'checkpoint').exists()

    def lock(self) -> contextlib.AbstractContextManager:
        """Keep others from training this run, until the `with` it is for is left."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        path = self.path.with_name(f'.{self.path.name}.lock')
        message = f'another process is training {self.path}; set another --run_name'
        return files.lock(path, message)

    def begin(self, vocabulary: Path, hparams: HParams, say: Callable[[str], None]) -> None:
        """Make the folder a model folder, but for the checkpoint; set an earlier run's aside.

        vocabulary: the folder that has it; say: is told where an earlier run's is now.
        """
        contents = {name: (vocabulary / name).read_bytes() for name in VOCABULARY}
        contents['hparams.json'] = (json.dumps(vars(hparams), indent=2) + '\n').encode()
        if self.has_checkpoint():
            aside = self.set_aside()
            say(
                f'What {self.path} held is now in {aside}; --restore_from latest goes on with a run'
            )
        for folder in (self.path, self.path / 'best'):
            folder.mkdir(parents=True, exist_ok=True)
            for name, content in contents.items():
                files.write(folder / name, content)

    def set_aside(self) -> Path:
        """Rename what an earlier run left under this name: run1 -> run1.1."""
        number = 1
        while (aside := self.path.with_name(f'{self.path.name}.{number}')).exists():
            number += 1
        self.path.rename(aside)
        return aside

    def save(self, step: int, params: dict, state: dict, facts: dict, keep: int) -> None:
        """Write a checkpoint; the one before stays whole until this one is, and `keep` remain.

        state: named tensors; facts: what JSON can say.
        """
        from ..checkpoint import save_params, save_tensors

        save_tensors(self.path / f'state-{step}', state)
        files.write(self.path / f'state-{step}.json', json.dumps(facts, indent=2) + '\n')
        save_params(self.path / f'model-{step}', params)
        self._prune(keep)

    def save_best(self, step: int, params: dict) -> None:
        """Write best/, the model with the lowest validation loss so far."""
        from ..checkpoint import save_params

        best = self.path / 'best'
        save_params(best / f'model-{step}', params)
        for path in best.glob('model-*'):
            if path.name.partition('.')[0] != f'model-{step}':
                path.unlink()

    def _prune(self, keep: int) -> None:
        """Delete all but the `keep` checkpoints written last, and what killed saves have left."""
        written = {
            int(found[1]): path.stat().st_mtime_ns
            for path in self.path.iterdir()
            if (found := re.fullmatch(r'model-(\d+)\.index', path.name))
        }
        for step in sorted(written, key=written.get)[:-keep]:
            for path in [*self.path.glob(f'model-{step}.*'), *self.path.glob(f'state-{step}.*')]:
                path.unlink()
        for part in self.path.glob('*.part'):
            if part.is_dir():
                shutil.rmtree(part, ignore_errors=True)
            else:
                part.unlink()


@dataclasses.dataclass(frozen=True)
class Start:
    """What a run starts from."""

    folder: Path  # with the vocabulary
    hparams: HParams | None = None  # None: the chief of the workers will say
    prefix: Path | None = None  # of the parameters; None: random ones
    state: Path | None = None  # where a run resumes: the prefix of what it must remember,
    facts: dict | None = None  # and what JSON said of it


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
        prefix = checkpoint_prefix(find_model(model_name, models_dir))
    elif Path(restore_from).is_dir() or Path(f'{restore_from}.index').exists():
        prefix = checkpoint_prefix(restore_from)
    else:
        raise UserError(
            f'there is no {restore_from}; set --restore_from to latest, fresh, scratch, '
            'or a checkpoint'
        )
    folder = prefix.parent
    start = Start(folder, load_hparams(folder), prefix)
    for name, value in shape.items():
        if value != getattr(start.hparams, name):
            raise UserError(
                f'{prefix} has {name} {getattr(start.hparams, name)}, not {value}; leave out '
                f'--{name}, or add --restore_from scratch for a new model'
            )
    state = prefix.with_name(prefix.name.replace('model-', 'state-'))
    facts = state.with_name(f'{state.name}.json')
    if folder.resolve() != run.path.resolve() or not facts.exists():
        return start
    try:
        return dataclasses.replace(start, state=state, facts=json.loads(facts.read_text('utf-8')))
    except ValueError as error:
        raise UserError(f'{facts} is damaged: {error}; restore from another checkpoint') from error
