"""The tasks of lm-eval, EleutherAI's harness: found by name, run, made a table. No TensorFlow."""

import contextlib
import difflib
import io
import logging
import random
import sys
from collections.abc import Sequence

import numpy as np
from lm_eval import evaluate
from lm_eval.tasks import TaskManager

from ..errors import UserError

BOOTSTRAP = 1000  # resamples for the standard errors that no formula gives
HEADER = ('task', 'shots', 'metric', 'value', 'stderr')


def find_tasks(names: Sequence[str], include_path: str | None = None) -> dict:
    """What lm_eval.evaluate runs, with its data: tasks and groups, by names or patterns of names.

    include_path: a folder with YAML files of further tasks. Raises UserError for a name that
    there is not, and where a task or its data cannot be loaded.
    """
    logging.getLogger('lm_eval').setLevel(logging.ERROR)
    message = "Reading lm-eval's list of tasks ..." if sys.stderr.isatty() else ''
    print(message, end='', file=sys.stderr, flush=True)
    manager = _manager(names, include_path)
    print('\r' + ' ' * len(message) + '\r' if message else '', end='', file=sys.stderr)
    loaded = {'tasks': {}, 'groups': {}, 'group_map': {}}
    for name in names:
        matches = manager.match_tasks([name])
        if not matches:
            near = difflib.get_close_matches(name, manager.all_tasks, 3)
            meant = f' (did you mean {" or ".join(near)}?)' if near else ''
            raise UserError(f'no task is called {name!r}{meant}; run: lm-eval ls tasks')
        try:
            found = manager.load(matches)
        except Exception as error:  # of datasets, of the network, or of a task's own code
            reason = str(error).strip().partition('\n')[0] or type(error).__name__
            mend = 'once that is settled, run the same command again'
            if isinstance(error, ImportError) and error.name:
                mend = f'run: pip install {error.name}'
            raise UserError(f'the task {name} cannot be loaded: {reason}; {mend}') from error
        for kind, entries in loaded.items():
            entries.update(found[kind])
    for name, task in loaded['tasks'].items():
        if getattr(task, 'UNSAFE_CODE', False) or getattr(task, 'MULTIMODAL', False):
            raise UserError(
                f'{name} runs code that a model writes, or shows pictures; leave it out'
            )
    return loaded


def _manager(names: Sequence[str], include_path: str | None) -> TaskManager:
    """Of the tasks in include_path, where they are enough: lm-eval's own take ten seconds."""
    if include_path:
        manager = TaskManager(include_path=include_path, include_defaults=False)
        if all(manager.match_tasks([name]) for name in names):
            return manager
    return TaskManager(include_path=include_path)


def run_tasks(lm, loaded: dict, shots: Sequence[int | None], limit, seed: int) -> list[dict]:
    """The results with each number of examples in the prompt; None: as many as each task says."""
    said = {name: task.get_config('num_fewshot') for name, task in loaded['tasks'].items()}
    runs = []
    for number in shots:
        for name, task in loaded['tasks'].items():
            # A task that says 0 itself cannot do with others: that is lm-eval's own rule.
            asked = said[name] if number is None or said[name] == 0 else number
            task.set_config('num_fewshot', asked or 0)
            task.set_fewshot_seed(seed)
        random.seed(seed)
        np.random.seed(seed)
        with contextlib.redirect_stdout(io.StringIO()):
            results = evaluate(
                lm, loaded, limit=limit, bootstrap_iters=BOOTSTRAP, log_samples=False
            )
        kept = ('results', 'n-shot', 'n-samples', 'versions')
        runs.append({'num_fewshot': number} | {kind: results[kind] for kind in kept})
    return runs


def table(runs: Sequence[dict]) -> str:
    """The results, a line for each metric of each task and number of examples."""
    rows = [HEADER]
    for run in runs:
        for name, figures in run['results'].items():
            for key, value in figures.items():
                metric, comma, kind = key.partition(',')
                if not comma or metric.endswith('_stderr'):
                    continue
                stderr = figures.get(f'{metric}_stderr,{kind}', '')
                stderr = stderr if isinstance(stderr, float) else ''  # N/A, where there is none
                metric += f' ({kind})' if kind != 'none' else ''
                row = (name, run['n-shot'].get(name, ''), metric, value, stderr)
                rows.append([f'{x:.4f}' if isinstance(x, float) else str(x) for x in row])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    aligned = '{:{}}  {:>{}}  {:{}}  {:>{}}  {:>{}}'
    pairs = ([item for pair in zip(row, widths, strict=True) for item in pair] for row in rows)
    return '\n'.join(aligned.format(*pair).rstrip() for pair in pairs)
