import numpy as np
import pytest

from gpt2.classification.metrics import f1, matthews, metrics, pearson


@pytest.mark.parametrize('labels', [2, 4])
def test_as_scikit_learn_has_them(labels):
    peer = pytest.importorskip('sklearn.metrics', reason='scikit-learn is not installed')
    random = np.random.default_rng(labels)
    for _ in range(5):
        right = random.integers(labels, size=60)
        given = np.where(random.random(60) < 0.5, right, random.integers(labels, size=60))
        average = 'binary' if labels == 2 else 'macro'
        assert f1(given, right) == pytest.approx(peer.f1_score(right, given, average=average))
        assert matthews(given, right) == pytest.approx(peer.matthews_corrcoef(right, given))


def test_pearson():
    x, y = np.random.default_rng(1).normal(size=(2, 50))
    assert pearson(x, x + y) == pytest.approx(np.corrcoef(x, x + y)[0, 1])


def test_where_there_is_nothing_to_correlate():
    ones = np.ones(4, int)
    assert matthews(ones, np.array([0, 1, 1, 0])) == pearson(ones, ones) == 0
    assert f1(np.zeros(3, int), np.zeros(3, int)) == 0


def test_each_kind_has_its_own():
    right = np.array([0, 1, 2, 1])
    assert metrics(right, right, 'pair') == {'accuracy': 1.0, 'f1': 1.0, 'matthews': 1.0}
    assert metrics(right, right, 'multiple_choice') == {'accuracy': 1.0}
    assert list(metrics(right, right, 'regression')) == ['pearson']
