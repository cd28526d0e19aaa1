"""A model that answers a task: figures, probabilities, and how often it is right."""

import math
from collections.abc import Sequence

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from ..hparams import HParams
from ..model import hidden, shape_list
from .head import answers, blank_scores
from .metrics import metrics
from .rows import Example, arrays
from .task import Task


class Classifier:
    """Answers rows, `batch_size` inputs at a time; traced once, for inputs of any length.

    params: a model's, and its head's under 'head', which a cloze has no need of.
    """

    def __init__(self, params: dict, hparams: HParams, task: Task, batch_size: int = 8):
        self.params, self.hparams, self.task = params, hparams, task
        self.batch_size = batch_size

    def figures(self, examples: Sequence[Example], said: str = 'Answering') -> np.ndarray:
        """Float32 [rows, labels], of a multiple choice [rows, choices], of a regression [rows, 1].

        Of a cloze, whose patterns are inputs of their own: [rows, patterns, labels].
        """
        order = np.argsort([-max(map(len, example.inputs)) for example in examples], kind='stable')
        size = max(1, self.batch_size // len(examples[0].inputs))
        found = [None] * len(examples)
        with tqdm(examples, said, unit=' rows', leave=False, disable=None) as bar:
            for start in range(0, len(order), size):
                batch = order[start : start + size]
                tokens, targets = arrays([examples[i] for i in batch], self.hparams.n_ctx)
                blanks = targets.get('blanks', np.zeros([*targets['ends'].shape, 0], np.float32))
                for i, figures in zip(
                    batch, self._figures(tokens, targets['ends'], blanks).numpy(), strict=True
                ):
                    found[i] = figures
                bar.update(len(batch))
        return np.stack(found)

    @tf.function(
        input_signature=[
            tf.TensorSpec([None, None, None], tf.int32),
            tf.TensorSpec([None, None], tf.int32),
            tf.TensorSpec([None, None, None], tf.float32),
        ],
        autograph=False,
    )
    def _figures(self, tokens, ends, blanks):
        h, _ = hidden(self.params, self.hparams, tf.reshape(tokens, [-1, shape_list(tokens)[-1]]))
        if self.task.kind == 'cloze':
            return blank_scores(self.params, h, tokens, ends, blanks)
        return answers(h, ends, self.params['head'], self.task.kind)


def measure(figures: np.ndarray, labels: np.ndarray, kind: str) -> dict[str, float]:
    """The loss, and what metrics says, of `figures` beside the right answers."""
    if kind == 'regression':
        loss = np.mean(np.square(figures[:, 0] - labels))
        return {'loss': float(loss)} | metrics(figures[:, 0], labels, kind)
    rows = np.log(probabilities(figures) + 1e-30)[np.arange(len(labels)), labels]
    return {'loss': float(-rows.mean())} | metrics(figures.argmax(axis=-1), labels, kind)


def probabilities(figures: np.ndarray) -> np.ndarray:
    """The softmax of each row."""
    raised = np.exp(figures.astype(np.float64) - figures.max(axis=-1, keepdims=True))
    return raised / raised.sum(axis=-1, keepdims=True)


def told(figures: np.ndarray, task: Task) -> dict:
    """What is said of one row: {'label': 'yes', 'probabilities': {'no': 0.2, 'yes': 0.8}}, of a
    multiple choice the number of a choice and a list, of a regression {'value': 3.5}."""
    if task.kind == 'regression':
        return {'value': rounded(figures[0])}
    chances, best = [rounded(p) for p in probabilities(figures)], int(figures.argmax())
    if task.kind == 'multiple_choice':
        return {'choice': best, 'probabilities': chances}
    return {
        'label': task.labels[best],
        'probabilities': dict(zip(task.labels, chances, strict=True)),
    }


def rounded(figure) -> float:
    """With six digits."""
    return float(f'{float(figure):.6g}') if math.isfinite(figure) else 0.0
