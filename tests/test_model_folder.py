import json

import pytest

from gpt2 import model_folder
from gpt2.errors import UserError
from gpt2.model_folder import checkpoint_prefix, find_model, load_hparams


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


def test_load_hparams(tiny):
    hparams = load_hparams(tiny)
    assert (hparams.n_vocab, hparams.n_ctx, hparams.n_layer) == (512, 64, 3)
    for broken in ('{', '[]', '{"n_vocab": 0}', '{"n_embd": 48}', '{"n_vocabulary": 512}'):
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
