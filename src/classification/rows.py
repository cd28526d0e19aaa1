"""Rows of a task become ids, and ids become batches. No TensorFlow."""

import json
import math
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..data.epochs import orders, padded_length
from ..data.read_text import read_rows
from ..encoder import Encoder
from ..errors import UserError
from ..special_tokens import specials
from .task import TOKENS, Task


class Example(NamedTuple):
    """A row: its inputs, each a list of ids, and the answer: of a label its number, or none.

    blanks: of a cloze, how many ids at the end of each input stand in the blank.
    """

    inputs: list[list[int]]
    label: int | float | None = None
    blanks: tuple[int, ...] = ()


def labels_of(rows: Sequence[tuple[int, dict]], task: Task, path) -> tuple[str, ...]:
    """The labels that occur, in order; UserError where there are not two."""
    found = sorted({label_text(_field(row, task.label, path, line)) for line, row in rows})
    if len(found) < 2:
        raise UserError(
            f'{path} has {len(found)} labels in the column {task.label}; a task has two at least'
        )
    return tuple(found)


def label_text(value) -> str:
    """'yes' -> 'yes', 1 -> '1', True -> 'true'."""
    return value if isinstance(value, str) else json.dumps(value)


def load_rows(path: str | Path, encoding: str = 'utf-8') -> list[tuple[int, dict]]:
    """(line, fields) of each row; UserError where there is none."""
    rows = list(read_rows(path, encoding))
    if not rows:
        raise UserError(f'{path} holds no row; name a file that does')
    return rows


def read_lines(file, task: Task) -> list[tuple[int, dict]]:
    """(line, fields) of lines that are JSON objects, or else texts, as far as a row is one text."""
    rows = []
    for number, line in enumerate(file, start=1):
        line = line.rstrip('\n')
        found = _parsed(line) if line.startswith('{') else None
        if line.strip():
            rows.append((number, found if isinstance(found, dict) else {task.text: line}))
    if not rows:
        raise UserError('stdin holds no row; write one a line, or name a file')
    return rows


def texts_of(row: dict, task: Task, path, line: int) -> tuple[str, list[str]]:
    """A row's text, and those that stand with it: none, the second, or the choices."""
    text = ' '.join(row_text(row, name, path, line) for name in task.text.split(','))
    if task.kind == 'multiple_choice':
        names = task.choices.split(',')
        if len(names) > 1:
            return text, [row_text(row, name, path, line) for name in names]
        return text, _choices(_field(row, task.choices, path, line), task, path, line)
    if task.kind in ('pair', 'similarity') or task.pairs:
        return text, [row_text(row, task.second, path, line)]
    return text, []


def _choices(value, task: Task, path, line: int) -> list[str]:
    if isinstance(value, str) and value.startswith('['):  # of a .csv
        value = _parsed(value)
    listed = isinstance(value, list) and len(value) > 1
    if not listed or not all(isinstance(choice, str) for choice in value):
        raise UserError(
            f'{path} line {line} has {value!r:.60} as {task.choices}, not a list of texts, two at '
            'least; mend the row, or set --choices'
        )
    return value


def _parsed(text: str):
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def label_of(row: dict, task: Task, choices: int, path, line: int) -> int | float:
    """A row's answer, as a number."""
    value = label_text(_field(row, task.label, path, line))
    try:
        if task.labels:
            return task.labels.index(value)
        number = float(value) if task.kind == 'regression' else int(value)
        if not math.isfinite(number) or choices and not 0 <= number < choices:
            raise ValueError
        return number
    except ValueError:
        wanted, other = 'a number', ''
        if task.labels:
            wanted, other = f'one of {", ".join(task.labels)}', ', or name another run: --run_name'
        if task.kind == 'multiple_choice':
            wanted = f'the number of a choice, from 0 to {choices - 1}'
        raise UserError(
            f'{path} line {line} has {value:.60} as {task.label}, not {wanted}; mend the row{other}'
        ) from None


def _field(row: dict, name: str, path, line: int):
    if name not in row:
        raise UserError(
            f'{path} line {line} has no column {name}, but: {", ".join(row)}; set --text, '
            '--second, --choices and --label of the training to those there are'
        )
    return row[name]


def row_text(row: dict, name: str, path, line: int) -> str:
    value = _field(row, name, path, line)
    if not isinstance(value, str):
        raise UserError(
            f'{path} line {line} has {value!r:.60} as {name}, which is no text; mend the row'
        )
    return value


class Transformer:
    """GPT-1's input transformations: the texts of a row between special tokens.

    classification, regression   start text extract
    pair                         start text delimiter second extract
    similarity                   the same, and once more with the texts in the other order
    multiple_choice              start text delimiter choice extract, for each choice

    Where there are two texts, each has half of the context; `cut` counts those that lost their
    end.
    """

    def __init__(self, task: Task, enc: Encoder, n_ctx: int):
        self.task, self.enc, self.n_ctx, self.cut = task, enc, n_ctx, 0
        known = specials(enc)
        self.start, self.delimiter, self.extract = map(known.get, TOKENS)

    def inputs(self, text: str, others: Sequence[str]) -> list[list[int]]:
        """('a', ['b']) of a pair -> [[start, *a, delimiter, *b, extract]]."""
        if not others:
            return [[self.start, *self._ids(text, self.n_ctx - 2), self.extract]]
        first, *others = (self._ids(x, self.n_ctx // 2 - 2) for x in (text, *others))
        pairs = [(first, other) for other in others]
        if self.task.kind in ('similarity', 'regression'):
            pairs.append((others[0], first))
        return [[self.start, *a, self.delimiter, *b, self.extract] for a, b in pairs]

    def _ids(self, text: str, most: int) -> list[int]:
        ids = self.enc.encode(text)
        self.cut += len(ids) > most
        return ids[:most]


def encode_rows(rows, task: Task, enc: Encoder, n_ctx: int, path, labelled: bool) -> list[Example]:
    """The examples of rows; says on stderr how many texts were cut.

    labelled: whether each must have its answer. Raises UserError for a row that is broken.
    """
    transformer, examples = Transformer(task, enc, n_ctx), []
    for line, row in rows:
        text, others = texts_of(row, task, path, line)
        inputs = transformer.inputs(text, others)
        if examples and len(inputs) != len(examples[0].inputs):
            raise UserError(
                f'{path} line {line} has {len(inputs)} choices, the first row '
                f'{len(examples[0].inputs)}; give each row as many'
            )
        choices = len(inputs) if task.kind == 'multiple_choice' else 0
        label = label_of(row, task, choices, path, line) if labelled else None
        examples.append(Example(inputs, label))
    say_cut(transformer.cut, path)
    return examples


def say_cut(number: int, path) -> None:
    if number:
        print(f'{path}: {number:,} texts are too long and lose their end', file=sys.stderr)


class Examples:
    """What training draws its batches from."""

    def __init__(self, examples: Sequence[Example], n_ctx: int):
        self.examples, self.longest = examples, n_ctx
        self.lengths = np.array([max(map(len, e.inputs)) for e in examples])
        self.labels = np.array([e.label for e in examples])

    def batches(self, seed: int, step: int, shape) -> Iterator[tuple[np.ndarray, dict]]:
        """Yield (tokens [*shape, inputs, n], targets) for `step` and those after it."""
        for numbers in orders(self.lengths, seed, step, math.prod(shape)):
            chosen = [self.examples[number] for number in numbers]
            tokens, targets = arrays(chosen, self.longest)
            reshaped = {name: x.reshape(*shape, *x.shape[1:]) for name, x in targets.items()}
            yield tokens.reshape(*shape, *tokens.shape[1:]), reshaped


def arrays(examples: Sequence[Example], n_ctx: int) -> tuple[np.ndarray, dict]:
    """int32 [rows, inputs, n] of padded ids; {'ends': where each input ends [rows, inputs],
    'labels': [rows], and of a cloze 'blanks': [rows, inputs, longest], as blank_scores has them}.

    n is one of few sizes, so that few are compiled.
    """
    longest = max(len(ids) for example in examples for ids in example.inputs)
    n = min(n_ctx, padded_length(longest))
    tokens = np.zeros([len(examples), len(examples[0].inputs), n], np.int32)
    for place, example in zip(tokens, examples, strict=True):
        for row, ids in zip(place, example.inputs, strict=True):
            row[: len(ids)] = ids
    ends = [[len(ids) - 1 for ids in example.inputs] for example in examples]
    targets = {'ends': np.array(ends, np.int32)}
    if blanks := [example.blanks for example in examples if example.blanks]:
        lengths = np.array(blanks)[..., None]
        targets['blanks'] = (np.arange(lengths.max()) < lengths).astype(np.float32)
    if examples[0].label is not None:
        labels = np.array([example.label for example in examples])
        targets['labels'] = labels.astype(np.int32 if labels.dtype.kind == 'i' else np.float32)
    return tokens, targets
