"""Tasks as patterns that end in a blank, which a word for each label may fill. No TensorFlow."""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..encoder import Encoder
from ..errors import UserError
from ..model_folder import parse_object
from ..paths import expanded
from .rows import Example, encode_rows, label_of, row_text, say_cut
from .task import Task

FIELD = re.compile(r'\{(\w+)\}')
BLANK = re.compile(r'\{blank\}|_{2,}')


def read_patterns(path: str | Path, label: str = 'label') -> Task:
    """The task of a file with patterns and verbalizers, as JSON.

    {"patterns": ["{text} All in all, it was"], "verbalizers": {"1": " terrible", "5": " great"}}

    Raises UserError where it cannot be read, and for a pattern that does not end in its blank.
    """
    path = Path(expanded(path))
    try:
        found = parse_object(path.read_bytes())
        patterns, words = found['patterns'], found['verbalizers']
        if not isinstance(patterns, list) or not all(isinstance(p, str) for p in patterns):
            raise ValueError('its patterns are no list of texts')
        if not isinstance(words, dict) or not all(isinstance(w, str) and w for w in words.values()):
            raise ValueError('its verbalizers are no texts by their labels')
        if not patterns or len(words) < 2 or len({*words.values()}) < len(words):
            raise ValueError('it needs a pattern, and two labels at least, each with its own word')
    except KeyError as error:
        raise UserError(f'{path} lacks {error}; write it as docs/classification.md shows') from None
    except (OSError, ValueError) as error:
        raise UserError(
            f'{path} holds no patterns: {error}; write it as docs/classification.md shows'
        ) from error
    patterns = [_checked(pattern, path) for pattern in patterns]
    labels = tuple(sorted(words))
    verbalizers = tuple(words[label] for label in labels)
    return Task(
        'cloze', label=label, labels=labels, patterns=tuple(patterns), verbalizers=verbalizers
    )


def _checked(pattern: str, path: Path) -> str:
    """A pattern without the blank at its end."""
    before, behind = pattern, ''
    if found := BLANK.search(pattern):
        before, behind = pattern[: found.start()], pattern[found.end() :]
    if behind.strip(' '):
        raise UserError(
            f'{path}: the pattern {pattern!r} goes on behind its blank, and a model that reads '
            'from left to right fills it without having seen that; put the blank at the end'
        )
    if not FIELD.search(before):
        raise UserError(f'{path}: the pattern {pattern!r} names no column; write one: {{text}}')
    if before != before.rstrip() and not found:
        raise UserError(
            f'{path}: the pattern {pattern!r} ends with a blank space, which belongs to the '
            "verbalizers, as in ' great'; leave it out"
        )
    return before.rstrip()


class Filler:
    """Rows in a pattern; `cut` counts those whose longest field lost its end, so that they fit."""

    def __init__(self, task: Task, enc: Encoder, n_ctx: int):
        self.enc, self.cut = enc, 0
        self.endings = [enc.encode(word) for word in task.verbalizers]
        self.room = n_ctx - max(map(len, self.endings))

    def inputs(self, pattern: str, fields: dict[str, str]) -> list[list[int]]:
        """The pattern with its fields, once with each verbalizer behind it."""
        fields, cut = dict(fields), False
        while len(ids := self._filled(pattern, fields)) > self.room:
            longest = max(fields, key=lambda name: len(fields[name]))
            letters = len(fields[longest]) * self.room // len(ids) - 1
            if letters < 0:
                raise UserError(f'the pattern {pattern!r} is longer than the context; shorten it')
            fields[longest], cut = fields[longest][:letters], True
        self.cut += cut
        return [ids + ending for ending in self.endings]

    def _filled(self, pattern: str, fields: dict[str, str]) -> list[int]:
        text = FIELD.sub(lambda name: fields[name[1]], pattern)
        return self.enc.encode(text) or [self.enc.end_of_text]

    def example(self, pattern: str, fields: dict[str, str], label=None) -> Example:
        return Example(self.inputs(pattern, fields), label, tuple(map(len, self.endings)))


def encode(
    rows, task: Task, enc: Encoder, n_ctx: int, path, labelled: bool = True
) -> list[Example]:
    """The examples of rows; of a cloze those of all patterns, one pattern after another."""
    if task.kind != 'cloze':
        return encode_rows(rows, task, enc, n_ctx, path, labelled)
    filler, examples = Filler(task, enc, n_ctx), []
    for pattern in task.patterns:
        for line, row in rows:
            fields = {name: row_text(row, name, path, line) for name in FIELD.findall(pattern)}
            label = label_of(row, task, 0, path, line) if labelled else None
            examples.append(filler.example(pattern, fields, label))
    say_cut(filler.cut, path)
    return examples


def empty_rows(task: Task, enc: Encoder, n_ctx: int) -> list[Example]:
    """Each pattern without a text: what the model expects in its blank before it has read any."""
    filler = Filler(task, enc, n_ctx)
    return [filler.example(p, dict.fromkeys(FIELD.findall(p), '')) for p in task.patterns]


def by_pattern(figures: np.ndarray, task: Task) -> np.ndarray:
    """What is computed for the examples of `encode`, as [patterns, rows, labels]."""
    return figures.reshape(len(task.patterns), -1, len(task.labels))


def ensemble(figures: np.ndarray, weights: Sequence[float]) -> np.ndarray:
    """[patterns, rows, labels] -> [rows, labels]: the mean by the weights, if there are any."""
    weights = weights if any(weights) else None
    return np.average(figures, axis=0, weights=weights)


def accuracies(figures: np.ndarray, labels: np.ndarray) -> list[float]:
    """Of each pattern, of figures [patterns, rows, labels]."""
    return [float(np.mean(one.argmax(axis=-1) == labels)) for one in figures]
