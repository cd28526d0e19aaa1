"""losses.csv, whatever a run did: go on, go back, end at once."""

import pytest

from gpt2.training.losses import HEADER, Loss, Losses


def rows(first, last, loss):
    return [Loss(step, loss, loss, loss / 2 if step % 2 else None) for step in range(first, last)]


def test_a_file_of_whole_lines(tmp_path):
    losses = Losses(tmp_path / 'losses.csv')
    assert losses.read(9) == []
    losses.append([])
    assert not losses.path.exists()
    losses.append(rows(1, 3, 2.5))
    losses.append(rows(3, 4, 2.25))
    lines = ['1,2.5,2.5,1.25\n', '2,2.5,2.5,\n', '3,2.25,2.25,1.125\n']
    assert losses.path.read_text() == HEADER + ''.join(lines)
    assert losses.read(3) == rows(1, 3, 2.5) + rows(3, 4, 2.25)
    assert losses.read(2) == rows(1, 3, 2.5)


def test_what_a_killed_process_left_of_a_line_goes(tmp_path):
    losses = Losses(tmp_path / 'losses.csv')
    losses.append(rows(1, 3, 2.0))
    with open(losses.path, 'a') as file:
        file.write('3,2.0,2')
    assert losses.read(9) == rows(1, 3, 2.0)
    Losses(losses.path).append(rows(3, 5, 1.0))
    assert losses.read(9) == rows(1, 3, 2.0) + rows(3, 5, 1.0)


def test_every_checkpoint_has_its_own_losses_after_a_run_went_back(tmp_path):
    losses = Losses(tmp_path / 'losses.csv')
    losses.append(rows(1, 9, 2.0))
    losses.append(rows(5, 7, 1.0))  # of a run that went back to step 4
    assert losses.read(6) == rows(1, 5, 2.0) + rows(5, 7, 1.0)
    assert losses.read(8) == rows(1, 9, 2.0)
    assert losses.read(4) == rows(1, 5, 2.0)
    losses.append(rows(5, 7, 3.0))  # after it was killed before the checkpoint of step 6
    assert losses.read(6) == rows(1, 5, 2.0) + rows(5, 7, 3.0)
    for loss in (1.0, 3.0):  # the average, which is the loss here, tells them apart
        assert losses.read(6, (2 * loss, 2)) == rows(1, 5, 2.0) + rows(5, 7, loss)
    assert losses.read(6, (2.0, 1)) == rows(1, 7, 2.0)


@pytest.mark.parametrize(
    'line', ['x,1,1,', '2,nan,1,', '2,1', '2,1,1,1,1', '2,1,1,inf', '', '\xff']
)
def test_lines_of_another_hand_are_left_out(tmp_path, line):
    path = tmp_path / 'losses.csv'
    path.write_bytes(f'{HEADER}1,2,2,\n{line}\n3,2,2,\n'.encode('latin-1'))
    assert Losses(path).read(3) == [Loss(1, 2, 2), Loss(3, 2, 2)]
