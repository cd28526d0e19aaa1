import pytest

from jobs import new_job, train, working_directory  # noqa: F401


def test_samples(tmp_path):
    _, said = train(max_steps=2, sample_every=2, sample_num=2, sample_length=5)
    text = (tmp_path / 'samples' / 'run1' / 'samples-2').read_text('utf-8')
    told = [line.partition('\n')[2] for line in said if 'SAMPLE' in line]
    assert text == '\n'.join(told) and len(told) == 2
    assert text.startswith('======== SAMPLE 1 ========\n')
    assert not list((tmp_path / 'samples').rglob('*.part'))


def test_the_steps_before_samples_that_cannot_be_written_are_saved(tmp_path):
    (tmp_path / 'samples').write_text('no folder')
    with pytest.raises(NotADirectoryError):
        train(max_steps=3, sample_every=2, sample_length=5)
    assert new_job().start.facts['step'] == 2
