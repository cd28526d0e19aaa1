import math

import pytest

from gpt2.errors import UserError
from gpt2.training.losses import Loss
from gpt2.training.progress import Progress


def test_the_average_is_of_the_losses_so_far():
    progress = Progress(seed=1)
    progress.advance(3.0, 1.0)
    progress.advance(1.0, 1.0)
    average = [0.99 * 3 + 1, 0.99 + 1]
    assert progress.facts() == {'step': 2, 'average': average, 'best': None, 'seed': 1}


@pytest.mark.parametrize(
    'loss, norm, sentence',
    [
        (math.nan, 1.0, 'the loss is nan at step 8, and nothing was saved since step 5; try a'),
        (1.0, math.inf, 'the norm of the gradient is inf at step 8, .* --clip_norm 1'),
    ],
)
def test_a_figure_that_is_none(loss, norm, sentence):
    progress = Progress(seed=1, step=7, saved=5)
    with pytest.raises(UserError, match=sentence):
        progress.advance(loss, norm)
    assert progress.average == (0.0, 0.0)


def test_what_happens_every_so_many_steps():
    assert [step for step in range(1, 8) if Progress(1, step).is_time(3)] == [3, 6]
    assert not any(Progress(1, step).is_time(0) for step in range(8))


def test_a_loss_that_explodes():
    progress = Progress(seed=1)
    for loss in [4.0, 3.0, 2.0, *[1.0] * 20, 8.0, 4.0]:
        progress.advance(loss, 1.0)
        assert not progress.explodes()
    progress.advance(150.0, 1.0)
    assert progress.explodes() and not progress.explodes([1.0, 8.0])
    for _ in range(10):
        progress.advance(1.0, 1.0)
    assert not progress.explodes()  # it was one step


def test_a_small_loss_is_no_explosion():
    progress = Progress(seed=1)
    for loss in [0.01] * 9 + [0.9] * 9:
        progress.advance(loss, 1.0)
        assert not progress.explodes()
    progress.advance(90.0, 1.0)
    assert progress.explodes()


def test_what_the_steps_so_far_say():
    progress = Progress(seed=1)
    progress.remember([Loss(1, 3.0, 3.0), Loss(2, 2.0, 2.5, 2.75), Loss(3, 5.0, 3.3)])
    assert (progress.lowest, progress.validation, *progress.recent) == (2.5, 2.75, 3, 2, 5)
    assert progress.rows == []


def test_the_validation_loss_of_a_step():
    progress = Progress(seed=1)
    progress.advance(3.0, 1.0)
    assert progress.validated(2.5) and not progress.validated(2.75)
    assert not progress.validated(math.nan)
    assert (progress.best, progress.rows) == (2.5, [Loss(1, 3.0, 3.0, 2.75)])
