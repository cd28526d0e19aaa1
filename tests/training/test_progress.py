import math

import pytest

from gpt2.errors import UserError
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
