"""Rows in, answers out: what evaluating and predicting have in common."""

from collections.abc import Iterator

import numpy as np

from .. import runtime
from ..errors import UserError
from ..loading import Model
from .classifier import Classifier, measure, told
from .cloze import accuracies, by_pattern, empty_rows, encode, ensemble
from .head import load_head
from .task import Task


class Answerer:
    """A model with the task that it has learnt, or a cloze, which it may fill as it is.

    weights: how much each of a cloze's patterns counts; prior: what is subtracted from its scores.
    """

    def __init__(self, model: Model, task: Task, batch_size: int = 8, calibrate: bool = False):
        self.task, self.enc, self.n_ctx = task, model.enc, model.hparams.n_ctx
        self.batch_size, self.weights, self.patterns = batch_size, task.weights, []
        self.classifier = Classifier(model.params, model.hparams, task, batch_size)
        self.prior = 0
        if calibrate:
            empty = empty_rows(task, self.enc, self.n_ctx)
            self.prior = by_pattern(self._figures(empty), task)

    @classmethod
    def of(cls, model: Model, prefix, task: Task, batch_size: int, calibrate: bool) -> 'Answerer':
        """With the head in a checkpoint. Raises UserError where it has none."""
        if task.kind != 'cloze':
            head = load_head(prefix)
            if not head:
                raise UserError(f'{prefix} has no head; name a checkpoint of the run: model-N')
            model = model._replace(params=model.params | {'head': head})
        return cls(model, task, batch_size, calibrate)

    def answer(self, rows, path, labelled: bool) -> tuple[np.ndarray, np.ndarray | None]:
        """The figures of rows, and, where they are `labelled`, the right answers.

        Of a cloze, `patterns` then are the accuracies of each.
        """
        examples = encode(rows, self.task, self.enc, self.n_ctx, path, labelled)
        labels = np.array([e.label for e in examples[: len(rows)]]) if labelled else None
        figures = self._figures(examples)
        if self.task.kind == 'cloze':
            figures = by_pattern(figures, self.task) - self.prior
            self.patterns = accuracies(figures, labels) if labelled else []
            figures = ensemble(figures, self.weights)
        return figures, labels

    def weigh(self, rows, path) -> None:
        """Weigh the patterns of a cloze by their accuracies on labelled rows."""
        self.answer(rows, path, labelled=True)
        self.weights = self.patterns

    def measure(self, figures, labels) -> dict[str, float]:
        """The loss, the metrics, and the accuracy of each pattern."""
        parts = {f'accuracy_of_pattern_{i}': a for i, a in enumerate(self.patterns, start=1)}
        return measure(figures, labels, self.task.kind) | parts

    def told(self, figures) -> Iterator[dict]:
        """What is said of each row, with its number, from 1."""
        for number, row in enumerate(figures, start=1):
            yield {'row': number} | told(row, self.task)

    def _figures(self, examples) -> np.ndarray:
        with runtime.explained(f'set a lower --batch_size than {self.batch_size}'):
            return self.classifier.figures(examples)
