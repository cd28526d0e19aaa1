"""What XLA compiled is kept for the next start, and never in its way."""

import os

import pytest


@pytest.fixture
def sample(process, tmp_path):
    """Runs a sampler with this cache folder; its output."""

    def sample(cache='cache', **environment):
        done = process(
            'generate_unconditional_samples.py',
            *('--model_name', 'demo', '--nsamples', '1', '--length', '5', '--seed', '1'),
            env=os.environ | {'XDG_CACHE_HOME': str(tmp_path / cache)} | environment,
        )
        assert (done.returncode, done.stderr) == (0, '')
        return done.stdout

    return sample


def times(folder):
    return {path: path.stat().st_mtime_ns for path in folder.glob('gpt-2/*/*')}


def test_kept_and_loaded_but_not_where_damaged(sample, tmp_path):
    cache = tmp_path / 'cache'
    (tmp_path / 'a place').mkdir()
    out = sample(TMPDIR=str(tmp_path / 'a place'))
    kept = times(cache)
    assert kept
    assert sample() == out
    assert times(cache) == kept
    for number, file in enumerate(kept):
        file.write_bytes(file.read_bytes()[:1000] if number % 2 else b'')
    assert sample() == out
    assert {file.stem for file in times(cache)} == {file.stem for file in kept}
    assert all(file.stat().st_size > 1000 for file in times(cache))
    assert {path.name for path in tmp_path.iterdir()} == {'cache', 'a place'}
    assert not os.listdir(tmp_path / 'a place')


def test_without_a_folder_for_it(sample, tmp_path):
    (tmp_path / 'file').touch()
    out = sample('file')
    assert out == sample('none', XLA_FLAGS='--xla_cpu_prefer_vector_width=256')
    assert not (tmp_path / 'none').exists()
