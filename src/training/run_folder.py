"""A training run's folder: a model folder that grows a checkpoint at a time, and can resume."""

import contextlib
import json
import re
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from .. import files
from ..errors import UserError
from ..hparams import HParams
from ..model_folder import checkpoint_prefix, vocabulary_of
from .facts import checksums, read_facts, to_text
from .losses import Loss, Losses

TASK = 'task.json'  # of a run that learns a task: see classification/task.py


class RunFolder:
    """checkpoint/<run>/: model-<step>.* in OpenAI's format, `checkpoint`, the vocabulary and
    hparams.json; beside them state-<step>.*, what resuming needs; losses.csv; and best/, a model
    folder too.

    A kill at any instant leaves `checkpoint` naming a whole one: no file of it is touched.
    """

    def __init__(self, run_name: str, parent='checkpoint'):
        self.path = Path(parent) / run_name
        self.losses = Losses(self.path / 'losses.csv')
        named = run_name not in ('', '..') and self.path.parent == Path(parent)
        if not named or not run_name.isprintable():
            raise UserError(f'--run_name is the name of a folder in {parent}, not {run_name!r}')

    def has_checkpoint(self) -> bool:
        return (self.path / 'checkpoint').exists()

    def lock(self) -> contextlib.AbstractContextManager:
        """Keep others from training this run, until the `with` it is for is left."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        path = self.path.with_name(f'.{self.path.name}.lock')
        message = f'another process is training {self.path}; set another --run_name'
        return files.lock(path, message)

    def begin(
        self,
        vocabulary: Path,
        hparams: HParams,
        say: Callable[[str], None],
        more: dict[str, bytes] | None = None,
    ) -> None:
        """Make the folder a model folder, but for the checkpoint; set an earlier run's aside.

        vocabulary: the folder that has it; say: is told where an earlier run's is now; more: by
        their names, files beside a model's, or in their places.
        """
        contents = _model_files(vocabulary, hparams) | (more or {})
        if self.has_checkpoint() or self._steps():
            aside = self.set_aside()
            say(
                f'What {self.path} held is now in {aside}; --restore_from latest goes on with a run'
            )
        for folder in (self.path, self.path / 'best'):
            folder.mkdir(parents=True, exist_ok=True)
            for name, content in contents.items():
                files.write(folder / name, content)

    def complete(self, vocabulary: Path, hparams: HParams) -> None:
        """Make another program's run a model folder: write what it lacks."""
        contents = _model_files(vocabulary, hparams)
        for folder in (self.path, self.path / 'best'):
            folder.mkdir(exist_ok=True)
            for name, content in contents.items():
                if not (folder / name).exists():
                    files.write(folder / name, content)

    def set_aside(self) -> Path:
        """Rename what an earlier run left under this name: run1 -> run1.1."""
        files.sweep(self.path)
        number = 1
        while (aside := self.path.with_name(f'{self.path.name}.{number}')).exists():
            number += 1
        self.path.rename(aside)
        return aside

    def save(
        self,
        step: int,
        params: dict,
        state: dict,
        facts: dict,
        keep: int,
        saved: int = 0,
        rows: Sequence[Loss] = (),
        good: int | None = None,
    ) -> None:
        """Write a checkpoint, of which `keep` remain; the one before stays whole until this is.

        state: named tensors; facts: see facts.py; saved: the step that this run has saved, or
        began from, before; rows: the losses since then; good: a step that stays, too. What is to
        go makes room first, but for these and the one that `checkpoint` names; and where this
        step has a checkpoint, from which the run went back, `checkpoint` names the one before
        until the new one stands in its place.
        """
        from ..checkpoint import naming, write_params, write_tensors

        def make_way():
            if self._named() == step and saved:
                files.write(self.path / 'checkpoint', naming(f'model-{saved}'))
            for path in self._steps().get(step, []):
                path.unlink()

        files.sweep(self.path)
        self._prune(max(1, keep - 1), spare={saved, good, self._named()})
        self.losses.append(rows)
        last = (f'model-{step}.index', 'checkpoint')
        with files.writing_prefix(self.path / f'model-{step}', last, make_way) as aside:
            write_tensors(aside.with_name(f'state-{step}'), state)
            write_params(aside, params)
            bound = facts | {'files': checksums(aside.parent, step)}
            aside.with_name(f'state-{step}.json').write_text(to_text(bound), 'utf-8')
        self._prune(keep, spare={step, good})

    def save_best(self, step: int, params: dict) -> None:
        """Write best/, the model with the lowest validation loss so far."""
        from ..checkpoint import save_params

        best, name = self.path / 'best', f'model-{step}'
        files.sweep(best)
        with contextlib.suppress(UserError):  # there is none yet
            named = checkpoint_prefix(best).name
            _keep_alone(best, named)
            if name == named:  # by a run that went back to before this step
                name += '-again'
        save_params(best / name, params)
        _keep_alone(best, name)

    def whole_steps(self) -> list[int]:
        """The steps from which this run can go on."""
        found = []
        for step in self._steps():
            with contextlib.suppress(OSError, ValueError):
                checkpoint_prefix(self.path / f'model-{step}')
                self.remembered(step)
                found.append(step)
        return found

    def remembered(self, step: int) -> dict:
        """The facts of a step; ValueError, a sentence, where they or its state are not whole, and
        PermissionError where they may not be read."""
        path = self.path / f'state-{step}.json'
        for name in (f'state-{step}.index', f'state-{step}.data-00000-of-00001', path.name):
            if not (self.path / name).exists():
                raise ValueError(f'{self.path / name} is missing')
        try:
            facts = read_facts(path, step)
            if facts.pop('files', None) not in (None, checksums(self.path, step)):
                raise ValueError(f'model-{step} or state-{step} is of another save')
            return facts
        except PermissionError:
            raise
        except (OSError, ValueError) as error:
            raise ValueError(f'{path} is damaged: {error}') from error

    def _steps(self) -> dict[int, list[Path]]:
        """The files of each step, that first without which the others are no checkpoint."""
        steps = {}
        for path in sorted(self.path.glob('*-*.*')):
            found = re.fullmatch(r'(model|state)-(0|[1-9][0-9]*)\..*', path.name)
            if found and path.is_file():
                steps.setdefault(int(found[2]), []).append(path)
        for paths in steps.values():
            paths.sort(key=_is_index, reverse=True)
        return steps

    def _named(self) -> int | None:
        """The step that `checkpoint` names, where it is there."""
        with contextlib.suppress(UserError):
            prefix = checkpoint_prefix(self.path)
            return next((step for step in self._steps() if prefix.name == f'model-{step}'), None)
        return None

    def _prune(self, keep: int, spare: Collection[int | None]) -> None:
        """Delete all but the `keep` checkpoints written last, and what killed saves have left.

        Those of another program, which have no state, stay.
        """
        steps, written = self._steps(), {}
        for step, (first, *others) in steps.items():
            if not _is_index(first):
                written[step] = (0, step)
            elif any(path.name.startswith('state-') for path in others):
                written[step] = (first.stat().st_mtime_ns, step)
        kept = {step for step in sorted(written, key=written.get)[-keep:] if written[step][0]}
        for step in written.keys() - kept - set(spare):
            for path in steps[step]:
                path.unlink()


def _model_files(vocabulary: Path, hparams: HParams) -> dict[str, bytes]:
    contents = {name: (vocabulary / name).read_bytes() for name in vocabulary_of(vocabulary)}
    return contents | {'hparams.json': (json.dumps(hparams.to_dict(), indent=2) + '\n').encode()}


def _keep_alone(best: Path, name: str) -> None:
    for path in best.glob('model-*'):
        if path.name.partition('.')[0] != name:
            path.unlink()


def _is_index(path: Path) -> bool:
    return path.name.startswith('model-') and path.name.endswith('.index')
