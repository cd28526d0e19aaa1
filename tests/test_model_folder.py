import errno
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from gpt2 import model_folder
from gpt2.encoder import read_encoder
from gpt2.errors import UserError
from gpt2.model_folder import checkpoint_prefix, find_model, find_prefix, load_hparams


@pytest.mark.parametrize(
    'there, asked',
    [
        ('124M', '117M'),
        ('117M', '124M'),
        ('345M', '355M'),
        ('762M', '774M'),
        ('1558M', '1542M'),
        ('124M', '124M'),
    ],
)
def test_both_names(tiny, there, asked):
    folder = tiny.rename(tiny.with_name(there))
    assert find_model(asked, tiny.parent) == folder


def test_the_exact_name_first(tiny):
    tiny.rename(tiny.with_name('124M')).with_name('117M').symlink_to('124M')
    assert find_model('117M', tiny.parent).name == '117M'
    assert find_model('124M', tiny.parent).name == '124M'


def test_working_directory_first_then_the_clone(tiny, tmp_path, monkeypatch):
    elsewhere = tmp_path / 'elsewhere'
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    with pytest.raises(UserError, match='no model in models/tiny'):
        find_model('tiny')
    monkeypatch.setattr(model_folder, 'CLONE', tmp_path)
    assert find_model('tiny') == tiny
    (elsewhere / 'models').mkdir()
    assert find_model('tiny') == tiny
    monkeypatch.chdir(tmp_path)
    assert find_model('tiny').resolve() == tiny and not find_model('tiny').is_absolute()


def test_a_missing_model_names_the_command_and_what_is_there(tiny, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as error:
        find_model('345M')
    assert str(error.value) == (
        'no model in models/345M (there: demo, tiny); run: python download_model.py 345M'
    )
    with pytest.raises(UserError, match=r'there: demo, tiny\); set --model_name to one'):
        find_model('tyni')
    with pytest.raises(UserError, match=r'no model is there\); .* 345M --models_dir other'):
        find_model('345M', 'other')


@pytest.mark.parametrize(
    'name',
    [
        'checkpoint',
        'encoder.json',
        'hparams.json',
        'vocab.bpe',
        'model.ckpt.index',
        'model.ckpt.data-00000-of-00001',
    ],
)
def test_a_missing_file(tiny, name):
    folder = tiny.rename(tiny.with_name('124M'))
    (folder / name).unlink()
    with pytest.raises(UserError, match=f'{name} is missing; run: python download_model.py 124M'):
        find_model('124M', folder.parent)


@pytest.mark.parametrize('name', ['encoder.json', 'hparams.json'])
def test_what_is_no_file_is_not_waited_for(tiny, name):
    (tiny / name).unlink()
    os.mkfifo(tiny / name)
    with pytest.raises(UserError, match=f'{name} is no file; put the files of'):
        find_model('tiny', tiny.parent)


def test_load_hparams(tiny):
    hparams = load_hparams(tiny)
    assert (hparams.n_vocab, hparams.n_ctx, hparams.n_layer) == (512, 64, 3)
    values = (tiny / 'hparams.json').read_text()
    changed = [values.replace('3', value) for value in ('NaN', '3.0', 'true', '1' + '0' * 12)]
    changed += ['[' * 100_000, values.replace('n_ctx', 'n_vocab'), values.replace('3', '9' * 5000)]
    broken_ones = ['{', '[]', '{"n_vocab": 0}', '{"n_embd": 48}', '{"n_vocabulary": 512}', *changed]
    for broken in broken_ones:
        (tiny / 'hparams.json').write_text(broken)
        with pytest.raises(UserError, match=r'hparams\.json .*; put the files'):
            load_hparams(tiny)


def test_checkpoint_prefix(tiny):
    assert checkpoint_prefix(tiny) == tiny / 'model.ckpt'
    assert checkpoint_prefix(tiny / 'model.ckpt') == tiny / 'model.ckpt'
    elsewhere = json.dumps('/gone/run1/model.ckpt')
    (tiny / 'checkpoint').write_text(f'model_checkpoint_path: {elsewhere}\n')
    assert checkpoint_prefix(tiny) == tiny / 'model.ckpt'  # the folder was moved
    (tiny / 'checkpoint').write_text('<Error/>')
    with pytest.raises(UserError, match='names no checkpoint'):
        checkpoint_prefix(tiny)


def test_a_file_that_may_not_be_read_is_not_damaged(tiny, monkeypatch):
    def refuse(*_):
        raise PermissionError(errno.EACCES, 'Permission denied')

    for method in ('read_bytes', 'read_text'):
        monkeypatch.setattr(Path, method, refuse)
    for read in (load_hparams, checkpoint_prefix, read_encoder):
        with pytest.raises(UserError, match='Permission denied.*; choose another place or change'):
            read(tiny)


def copy_checkpoint(folder, name):
    for path in folder.glob('model.ckpt.*'):
        shutil.copy(path, folder / path.name.replace('model.ckpt', name))


def test_a_tuned_models_checkpoints_are_named_and_no_download(tiny):
    folder = tiny.rename(tiny.with_name('117M'))
    for name in ('model-9', 'model-10', 'state-10'):
        copy_checkpoint(folder, name)
    (folder / 'checkpoint').write_text(
        'model_checkpoint_path: "model-12"\nall_model_checkpoint_paths: "model-12"\n'
    )
    with pytest.raises(UserError) as error:
        find_model('117M', folder.parent)
    sentence = str(error.value)
    assert 'model-12.index is missing; there: model.ckpt, model-9, model-10; set ' in sentence
    assert f'--restore_from {folder}/model-10, or run: echo ' in sentence
    subprocess.run(sentence.partition('or run: ')[2], shell=True, check=True)
    assert checkpoint_prefix(folder) == folder / 'model-10'
    (folder / 'vocab.bpe').unlink()
    with pytest.raises(UserError, match=r'vocab\.bpe is missing; put the files'):
        find_model('117M', folder.parent)


def test_a_checkpoint_file_that_contradicts_itself(tiny):
    path = tiny / 'checkpoint'
    for name in ('model-1', 'model-2'):
        copy_checkpoint(tiny, name)
    lines = [f'all_model_checkpoint_paths: "{name}"' for name in ('model-1', 'model-2')]
    path.write_text('\n'.join(['model_checkpoint_path: "model-2"', *lines]))
    assert checkpoint_prefix(tiny).name == 'model-2'
    path.write_text('\n'.join(['model_checkpoint_path: "model-1"', *lines]))
    with pytest.raises(UserError, match='names model-1, then model-2; there: model.ckpt, model-1'):
        checkpoint_prefix(tiny)


@pytest.mark.parametrize('name', ['a\0b', '/', 'a' * 5000, 'model.ck*', '..'])
def test_names_that_are_none(tiny, name):
    (tiny / 'checkpoint').write_text(f'model_checkpoint_path: "{name}"\n')
    with pytest.raises(UserError, match='there: model.ckpt; set --restore_from'):
        checkpoint_prefix(tiny)


@pytest.fixture
def a_run(tiny, tmp_path, monkeypatch):
    """checkpoint/recipes below the working directory, with the steps 50 and 100."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('HOME', str(tmp_path))
    folder = Path('checkpoint') / 'recipes'
    shutil.copytree(tiny, folder)
    for name in ('model-50', 'model-100', 'state-100'):
        copy_checkpoint(folder, name)
    (folder / 'checkpoint').write_text('model_checkpoint_path: "model-100"\n')
    shutil.copytree(folder, folder / 'best')
    return folder


@pytest.mark.parametrize('above', ['', './', '../{here}/', '~/', '$HOME/', '{tmp}/'])
@pytest.mark.parametrize(
    'name, prefix',
    [
        ('checkpoint/recipes', 'model-100'),
        ('checkpoint/recipes/', 'model-100'),
        ('checkpoint/recipes/model-50', 'model-50'),
        ('checkpoint/recipes/model-50.index', 'model-50'),
        ('checkpoint/recipes/best', 'best/model-100'),
        ('checkpoint/recipes/best/model-50', 'best/model-50'),
    ],
)
def test_a_path_is_a_name(a_run, tmp_path, above, name, prefix):
    name = above.format(here=tmp_path.name, tmp=tmp_path) + name
    found = find_prefix(name)
    assert found.resolve() == (a_run / prefix).resolve()
    assert find_model(name) == found.parent
    assert find_model(Path(name), files=('vocab.bpe',)) == found.parent


def test_an_older_step_needs_no_checkpoint_file(a_run):
    (a_run / 'checkpoint').unlink()
    assert find_prefix('checkpoint/recipes/model-50') == a_run / 'model-50'
    with pytest.raises(UserError, match='recipes/checkpoint is missing; there: model.ckpt, '):
        find_prefix('checkpoint/recipes')


def leave(folder, *names):
    """Delete a folder's checkpoints but those of `names`."""
    for path in [*folder.glob('model*'), *folder.glob('state-*')]:
        if path.name.partition('.')[0] not in names:
            path.unlink()


@pytest.mark.parametrize('missing', ['model-100.index', 'model-100.data-00000-of-00001'])
@pytest.mark.parametrize(
    'best, sentence',
    [
        (['model-50'], 'there: checkpoint/recipes/best/model-50; set --model_name or --restore'),
        ([], 'start the run anew with --restore_from fresh, for no whole checkpoint of it is left'),
    ],
)
def test_the_only_checkpoint_of_a_run_is_broken(a_run, missing, best, sentence):
    leave(a_run, 'model-100')
    leave(a_run / 'best', *best)
    (a_run / missing).unlink()
    with pytest.raises(UserError, match=f'model-100.* is missing; {sentence}'):
        find_prefix('checkpoint/recipes')
    for name in best:
        assert find_prefix(f'checkpoint/recipes/best/{name}').name == name


def test_a_runs_best_is_mended_by_the_run(a_run):
    best = a_run / 'best'
    (best / 'vocab.bpe').unlink()
    with pytest.raises(UserError, match=r'vocab\.bpe is missing; run: cp checkpoint/r') as caught:
        find_prefix('checkpoint/recipes/best')
    subprocess.run(str(caught.value).partition('run: ')[2], shell=True, check=True)
    assert find_prefix('checkpoint/recipes/best') == best / 'model-100'
    leave(a_run, 'model-50', 'model-100')
    leave(best)
    sentence = 'there: checkpoint/recipes/model-50, checkpoint/recipes/model-100; set --model_name'
    assert model_folder.how_to_mend_checkpoint(best / 'model-7').startswith(sentence)


def test_the_models_folder_comes_before_a_path(a_run):
    shutil.copytree(a_run, Path('models') / a_run)
    assert find_model('checkpoint/recipes') == Path('models') / a_run
    assert find_model('./checkpoint/recipes') == a_run
    assert find_model('checkpoint/recipes', 'other') == a_run


@pytest.mark.parametrize('name', ['..', 'recipes/..', 'a/../../b'])
def test_a_name_that_leaves_the_models_folder(a_run, name):
    with pytest.raises(UserError, match='is the name of a folder, not .*; set --models_dir'):
        find_model(name)


@pytest.mark.parametrize(
    'name, sentence',
    [
        (
            'recipes',
            'no model in models/recipes (there: demo, tiny); set --model_name to '
            'checkpoint/recipes',
        ),
        (
            'checkpoint/recipe',
            'no model in checkpoint/recipe (there: checkpoint/recipes); set --model_name to one',
        ),
        (
            'checkpoint/recipes/model-70',
            'no model in checkpoint/recipes/model-70 (there: checkpoint/recipes/best, '
            'checkpoint/recipes/model.ckpt, checkpoint/recipes/model-50, '
            'checkpoint/recipes/model-100); set --model_name to one',
        ),
        (
            'nowhere/x',
            'no model in nowhere/x (no model is there); run: python download_model.py --list',
        ),
        (
            '/nowhere',
            'no model in /nowhere (no model is there); run: python download_model.py --list',
        ),
        (
            './models/355M',
            'no model in models/355M (there: tiny); run: python download_model.py 355M',
        ),
        (
            './checkpoint',
            'checkpoint/checkpoint is missing; set --model_name to a model in it: '
            'checkpoint/recipes',
        ),
    ],
)
def test_a_path_to_nothing(a_run, name, sentence):
    with pytest.raises(UserError) as error:
        find_model(name)
    assert str(error.value) == sentence


def test_a_vocabulary_alone_names_itself_as_it_is_found(a_run):
    for path in a_run.glob('*.*'):
        if path.name not in ('encoder.json', 'vocab.bpe'):
            path.unlink()
    shutil.rmtree(a_run / 'best')
    with pytest.raises(UserError, match='--model_name checkpoint/recipes --dataset TEXT'):
        find_model('checkpoint/recipes')
