"""The models and the runs that there are, as a table. No TensorFlow."""

import contextlib
import re
from pathlib import Path

from .errors import UserError
from .model_folder import CLONE, checkpoint_prefix, load_hparams, models_in, name_of
from .paths import expanded
from .training.facts import read_facts

HEADER = ('name', 'parameters', 'disk', 'step', 'loss', 'best')


def table(models_dir='models', runs: str | Path = 'checkpoint') -> str:
    """A line for each model in `models_dir`, here and in this clone, and for each run in `runs`.

    name: as --model_name takes it; step, loss, best: of a run, the average loss of its training
    and its lowest validation loss. Raises UserError where no model is there.
    """
    places, rows = [Path(expanded(models_dir)), CLONE / expanded(models_dir)], {}
    for folder in [folder for place in places for folder in models_in(place)]:
        rows.setdefault(name_of(folder), figures(folder))
    for folder in models_in(Path(runs)):
        rows |= of_a_run(folder)
    if not rows:
        raise UserError(f'no model is in {models_dir}; run: python download_model.py 124M')
    return '\n'.join(aligned([HEADER, *([name, *row] for name, row in rows.items())]))


def figures(folder: Path) -> list[str]:
    """How many parameters a model has, and how many bytes its files."""
    parameters = '?'
    with contextlib.suppress(UserError):
        parameters = f'{load_hparams(folder).parameters:,}'
    size = sum(path.stat().st_size for path in folder.iterdir() if path.is_file())
    return [parameters, f'{size / 1e9:.2f} GB' if size > 1e8 else f'{size / 1e6:.1f} MB']


def of_a_run(folder: Path) -> dict[str, list]:
    """Of its last checkpoint, and of the best."""
    step, facts = step_of(folder), {}
    with contextlib.suppress(OSError, ValueError, TypeError):
        facts = read_facts(folder / f'state-{step}.json', step)
    total, weight = facts.get('average', (0, 0))
    loss = f'{total / weight:.2f}' if weight else ''
    best = f'{facts["best"]:.2f}' if facts.get('best') is not None else ''
    rows = {name_of(folder): [*figures(folder), step, loss, best]}
    if (step := step_of(folder / 'best')) is not None:
        rows[name_of(folder / 'best')] = [*figures(folder / 'best'), step, '', best]
    return rows


def step_of(folder: Path) -> int | None:
    """The step of the checkpoint that a folder names: model-7 -> 7."""
    with contextlib.suppress(UserError):
        found = re.match(r'model-(\d+)', checkpoint_prefix(folder).name)
        return found and int(found[1])
    return None


def aligned(rows: list) -> list[str]:
    """Lines whose columns stand below each other, names at the left, figures at the right."""
    rows = [['' if cell is None else str(cell) for cell in row] for row in rows]
    rows = [row + [''] * (len(HEADER) - len(row)) for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        '  '.join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]).rstrip()
        for row in rows
    ]
