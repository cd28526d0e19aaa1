import pytest

from gpt2.training.schedule import learning_rate_at


def test_learning_rate():
    rates = [learning_rate_at(step, 1.0, 4, 12, 0.1) for step in range(14)]
    assert rates[:4] == [0.25, 0.5, 0.75, 1.0]
    assert rates[4] == 1.0 and rates[8] == pytest.approx(0.55) and rates[12:] == [0.1, 0.1]
    assert all(a >= b for a, b in zip(rates[4:], rates[5:], strict=False))
    assert learning_rate_at(1000, 2e-5, 0, 0, 0.0) == 2e-5
