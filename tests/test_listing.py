"""download_model.py --list."""

import json
import shutil

import pytest

from conftest import DATA
from gpt2 import listing, model_folder
from gpt2.errors import UserError
from gpt2.training.facts import to_text


@pytest.fixture
def run_folder(tiny, tmp_path, monkeypatch):
    """checkpoint/recipes, which has steps 50 and 100, and was best at step 50."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(model_folder, 'CLONE', tmp_path / 'none')
    monkeypatch.setattr(listing, 'CLONE', tmp_path / 'none')
    folder = tmp_path / 'checkpoint' / 'recipes'
    for place, steps in ((folder, (50, 100)), (folder / 'best', (50,))):
        place.mkdir(parents=True)
        for name in ('encoder.json', 'vocab.bpe', 'hparams.json'):
            shutil.copy(tiny / name, place)
        for step in steps:
            for path in (DATA / 'tiny-random').glob('model.ckpt.*'):
                shutil.copy(path, place / path.name.replace('model.ckpt', f'model-{step}'))
        (place / 'checkpoint').write_text(f'model_checkpoint_path: "model-{steps[-1]}"\n')
    facts = {'average': [5.0, 2.0], 'best': 2.25, 'flags': {}, 'seed': 1, 'step': 100}
    (folder / 'state-100.json').write_text(to_text(facts))
    return folder


def test_models_and_runs(run_folder, no_tensorflow, run):
    done = run('download_model.py', '--list')
    assert done.stderr == '' and done.returncode == 0
    header, *rows = [line.split() for line in done.stdout.splitlines()]
    assert header == ['name', 'parameters', 'disk', 'step', 'loss', 'best']
    sized = {name: rest for name, *rest in rows}
    assert list(sized) == ['tiny', 'checkpoint/recipes', 'checkpoint/recipes/best']
    assert sized['tiny'] == ['112,560', '0.5', 'MB']
    assert sized['checkpoint/recipes'][3:] == ['100', '2.50', '2.25']
    assert sized['checkpoint/recipes/best'][3:] == ['50', '2.25']
    assert all(len(line) < 80 for line in done.stdout.splitlines())


def test_what_is_broken_is_listed_too(run_folder):
    (run_folder / 'state-100.json').write_text('{')
    (run_folder / 'best' / 'checkpoint').unlink()
    (run_folder / 'hparams.json').write_text(json.dumps({'n_vocab': 0}))
    _, _, row = listing.table().splitlines()
    assert row.split()[:2] == ['checkpoint/recipes', '?'] and row.split()[-1] == '100'


def test_nothing_is_there(run_folder, tmp_path):
    (tmp_path / 'empty').mkdir()
    with pytest.raises(UserError, match='^no model is in other; run: python download_model.py'):
        listing.table('other', 'none')


def test_each_name_of_the_list_is_a_models(run_folder):
    for line in listing.table().splitlines()[1:]:
        assert model_folder.find_model(line.split()[0]).is_dir()


def test_it_downloads_nothing(run):
    done = run('download_model.py', '124M', '--list')
    assert done.stderr.startswith('download_model.py: --list downloads nothing; leave it out, or')
