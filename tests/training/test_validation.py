import numpy as np
import pytest

from jobs import train, working_directory  # noqa: F401


def test_validation_is_on_the_same_windows_and_keeps_the_best(tmp_path):
    _, said = train(max_steps=2, val_every=1, val_batch_count=2, learning_rate=0.0)
    losses = [line.partition(' loss = ')[2] for line in said if 'validation' in line]
    assert len(losses) == 2 and len(set(losses)) == 1
    loss, _, perplexity = losses[0].partition(' perplexity = ')
    assert float(perplexity) == pytest.approx(np.exp(float(loss)), rel=1e-3)
    best = tmp_path / 'checkpoint' / 'run1' / 'best'
    assert [path.name for path in best.glob('*.index')] == ['model-1.index']
