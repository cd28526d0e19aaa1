"""Heads in Transformers, from the weights under its names."""

import dataclasses
import json
import sys

import numpy as np
import pytest
import tensorflow as tf

from conftest import ROOT, write_vocabulary
from gpt2 import find
from gpt2.checkpoint import save_params
from gpt2.classification.classifier import Classifier
from gpt2.classification.export import transformers_config, transformers_head
from gpt2.classification.head import new_head
from gpt2.classification.rows import Example
from gpt2.classification.task import TOKENS, Task
from gpt2.encoder import read_encoder
from gpt2.errors import UserError
from gpt2.formats.huggingface import to_huggingface
from gpt2.hparams import HParams
from gpt2.params import flatten, init_params
from gpt2.special_tokens import extended, vocabulary_files

SHAPE = HParams(n_vocab=60, n_ctx=32, n_embd=16, n_head=2, n_layer=2)
PADDING, EXTRACT = 56, 59


def new_model(task, bias, hparams=SHAPE):
    random = tf.random.Generator.from_seed(1)
    params = init_params(hparams, seed=1)
    if task.kind != 'cloze':
        params['head'] = new_head(hparams, task.outputs, bias, random)
    for variable in flatten(params).values():
        variable.assign_add(random.normal(variable.shape, stddev=0.3))
    return params


def theirs(params, task):
    """Transformers' model, all its weights set."""
    torch = pytest.importorskip('torch', reason='PyTorch is not installed')
    transformers = pytest.importorskip('transformers', reason='Transformers is not installed')
    sys.path.insert(0, str(ROOT / 'benchmarks'))
    from peers import transformers_model

    model = {name: value for name, value in params.items() if name != 'head'}
    config = transformers_config(task, params['head'], PADDING)
    shape = {'vocab_size': 60, 'n_positions': 32, 'n_embd': 16, 'n_head': 2, 'n_layer': 2}
    options = {key: value for key, value in config.items() if key != 'architectures'}
    peer = getattr(transformers, config['architectures'][0])(
        transformers.GPT2Config(**shape, **options)
    ).eval()
    peer.transformer.load_state_dict(transformers_model(model, SHAPE).transformer.state_dict())
    head = {k: torch.from_numpy(v) for k, v in transformers_head(task, params['head']).items()}
    missing = peer.load_state_dict(head, strict=False).missing_keys
    assert all(name.startswith(('transformer.', 'lm_head.')) for name in missing)
    return torch, peer


@pytest.fixture(name='inputs')
def rows_of_ids():
    """Of several lengths, each with two inputs; padding stands nowhere in them."""
    random = np.random.default_rng(1)
    return [
        [[*random.integers(0, 50, random.integers(3, 25)).tolist(), EXTRACT] for _ in range(2)]
        for _ in range(5)
    ]


def padded(rows):
    return [row + [PADDING] * (32 - len(row)) for row in rows]


@pytest.mark.parametrize('kind, labels', [('classification', ('a', 'b', 'c')), ('regression', ())])
def test_sequence_classification(inputs, kind, labels):
    task = Task(kind, labels=labels)
    params = new_model(task, bias=False)
    torch, peer = theirs(params, task)
    rows = [row[0] for row in inputs]
    found = Classifier(params, SHAPE, task).figures([Example([row]) for row in rows])
    ids = torch.tensor(padded(rows))
    with torch.no_grad():
        expected = peer(ids, attention_mask=(ids != PADDING).long()).logits.numpy()
    assert found.shape == expected.shape and np.abs(expected).max() > 0.5
    np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize('bias', [True, False])
def test_double_heads(inputs, bias):
    task = Task('multiple_choice')
    params = new_model(task, bias)
    torch, peer = theirs(params, task)
    found = Classifier(params, SHAPE, task).figures([Example(row) for row in inputs])
    ids = torch.tensor([padded(row) for row in inputs])
    ends = torch.tensor([[len(one) - 1 for one in row] for row in inputs])
    with torch.no_grad():
        expected = peer(ids, mc_token_ids=ends).mc_logits.numpy()
    np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize(
    'task, bias, name',
    [
        (Task('pair', labels=('a', 'b', 'c')), False, 'GPT2ForSequenceClassification'),
        (Task('multiple_choice'), True, 'GPT2DoubleHeadsModel'),
        (Task('cloze', labels=('a', 'b')), False, 'GPT2LMHeadModel'),
    ],
)
def test_a_folder_for_transformers(tmp_path, inputs, task, bias, name):
    """Its tensors and config.json, and, where Transformers is installed, its answers."""
    safetensors = pytest.importorskip('safetensors.numpy')
    hparams = dataclasses.replace(SHAPE, n_vocab=260)
    params = new_model(task, bias, hparams)
    folder = tmp_path / 'learnt'
    folder.mkdir()
    write_vocabulary(folder, 257)
    enc = extended(read_encoder(folder), TOKENS)
    for file, content in vocabulary_files(enc).items():
        (folder / file).write_bytes(content)
    (folder / 'hparams.json').write_text(json.dumps(hparams.to_dict()))
    (folder / 'task.json').write_text(task.to_text())
    save_params(folder / 'model.ckpt', params)
    to_huggingface(find(str(folder)), tmp_path / 'hf')
    tensors = safetensors.load_file(tmp_path / 'hf' / 'model.safetensors')
    config = json.loads((tmp_path / 'hf' / 'config.json').read_text())
    assert config['architectures'] == [name]
    assert config['model_type'] == 'gpt2' and config['vocab_size'] == 260
    for key, value in transformers_head(task, params.get('head', {})).items():
        np.testing.assert_array_equal(tensors.pop(key), value)
    assert all(key.startswith('transformer.') for key in tensors)
    torch = pytest.importorskip('torch', reason='PyTorch is not installed')
    transformers = pytest.importorskip('transformers', reason='Transformers is not installed')
    peer = getattr(transformers, name).from_pretrained(tmp_path / 'hf').eval()
    if name == 'GPT2LMHeadModel':
        return
    found = Classifier(params, hparams, task).figures([Example(row[:1]) for row in inputs])
    for row, figures in zip(inputs, found, strict=True):
        with torch.no_grad():
            given = {'mc_token_ids': torch.tensor([[len(row[0]) - 1]])} if bias else {}
            out = peer(torch.tensor([[row[0]]] if bias else [row[0]]), **given)
        expected = (out.mc_logits if bias else out.logits)[0].numpy()
        np.testing.assert_allclose(figures, expected, atol=1e-4)


def test_what_transformers_has_no_room_for():
    with_bias = {'w': np.zeros([4, 2]), 'b': np.zeros([2])}
    with pytest.raises(UserError, match='has no bias; train with --head_bias False'):
        transformers_head(Task('pair', labels=('a', 'b')), with_bias)
    with pytest.raises(UserError, match='in both orders; train with --kind pair'):
        transformers_head(Task('similarity', labels=('a', 'b')), with_bias)
    assert transformers_head(Task('cloze'), {}) == {}
