"""How good answers are: accuracy, F1, Matthews and Pearson correlation. No TensorFlow."""

import numpy as np


def metrics(given: np.ndarray, right: np.ndarray, kind: str) -> dict[str, float]:
    """Those of a kind of task, of the answers given beside the right ones."""
    if kind == 'regression':
        return {'pearson': pearson(given, right)}
    found = {'accuracy': float(np.mean(given == right))}
    if kind == 'multiple_choice':
        return found
    return found | {'f1': f1(given, right), 'matthews': matthews(given, right)}


def f1(given: np.ndarray, right: np.ndarray) -> float:
    """Of two labels that of the second, which is 1; of more the mean over all that occur."""
    labels = np.union1d(given, right)
    if labels.max() <= 1:
        labels = [1]
    scores = []
    for label in labels:
        both = np.sum((given == label) & (right == label))
        either = np.sum(given == label) + np.sum(right == label)
        scores.append(2 * both / either if either else 0.0)
    return float(np.mean(scores))


def matthews(given: np.ndarray, right: np.ndarray) -> float:
    """The correlation of labels, of any number of them; 0 where one side has a single label."""
    labels = np.union1d(given, right)
    x, y = (np.equal.outer(side, labels).astype(float) for side in (given, right))
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    return _over(np.sum(x * y), np.sum(x * x), np.sum(y * y))


def pearson(given: np.ndarray, right: np.ndarray) -> float:
    """The correlation of numbers; 0 where one side is constant."""
    x, y = (np.asarray(side, np.float64) for side in (given, right))
    x, y = x - x.mean(), y - y.mean()
    return _over(np.sum(x * y), np.sum(x * x), np.sum(y * y))


def _over(xy: float, xx: float, yy: float) -> float:
    return float(xy / np.sqrt(xx * yy)) if xx * yy > 0 else 0.0
