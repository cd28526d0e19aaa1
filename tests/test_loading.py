import re
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

import gpt2
from gpt2.checkpoint import save_params
from gpt2.model import model
from gpt2.params import flatten, init_params


def test_a_model_by_its_name(tiny, golden):
    params, hparams, enc = loaded = gpt2.load('tiny', tiny.parent)
    assert loaded.params is params and loaded.hparams.n_layer == 3
    assert enc.decode(enc.encode('hello')) == 'hello'
    np.testing.assert_allclose(
        model(params, hparams, golden['tokens'])['logits'], golden['logits'], atol=1e-4
    )
    assert all(isinstance(value, tf.Variable) for value in flatten(params).values())
    low = flatten(gpt2.load('tiny', tiny.parent, precision='bfloat16').params)
    assert low['h0/mlp/c_fc/w'].shape == (192, 48) and low['wte'].dtype == tf.bfloat16


def test_found_before_tensorflow(tiny):
    found = gpt2.find('tiny', tiny.parent)
    assert found.folder == tiny and found.hparams.n_vocab == 512
    assert (found.prefix, found.name) == (tiny / 'model.ckpt', 'tiny')
    assert gpt2.find(tiny).name == str(tiny)
    with pytest.raises(gpt2.UserError, match='no model in .*nothing'):
        gpt2.find('nothing', tiny.parent)


def test_from_any_folder_for_a_clone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert gpt2.find('demo').hparams.n_ctx == 256


def test_a_path_to_an_older_step(tiny, golden):
    """Whose parameters are loaded, and not those that the folder's `checkpoint` names."""
    save_params(tiny / 'model-7', init_params(gpt2.find(tiny).hparams, seed=1))
    assert gpt2.find(tiny).prefix == tiny / 'model-7'
    older = gpt2.load(tiny / 'model.ckpt')
    logits = older.logits(golden['tokens'][0])
    np.testing.assert_allclose(logits, golden['logits'][0], atol=1e-4)
    assert not np.allclose(gpt2.load(tiny).logits(golden['tokens'][0]), logits, atol=1e-2)


def test_quiet_in_a_process_in_any_folder(tmp_path):
    code = """
import gpt2
model = gpt2.load('demo')
text = model.generate('ROMEO:', length=3, temperature=0)
print(''.join(model.stream('ROMEO:', length=3, temperature=0)) == text, len(model.next_tokens('O')))
"""
    done = subprocess.run(
        [sys.executable, '-c', code], capture_output=True, text=True, cwd=tmp_path
    )
    assert (done.stdout, done.stderr) == ('True 10\n', '')


def test_names_to_be_found():
    assert re.fullmatch(r'\d+\.\d+\.\d+', gpt2.__version__)
    assert {name for name in dir(gpt2) if name[0] != '_'} == set(gpt2.__all__)
    assert all(getattr(gpt2, name).__doc__ for name in gpt2.__all__)
    assert {'generate', 'stream', 'logits', 'next_tokens', 'log_probs', 'hidden_states'} < {
        *dir(gpt2.Model)
    }


def test_importing_imports_no_tensorflow():
    code = (
        'import sys, gpt2; names = dir(gpt2); gpt2.SamplingOptions()'
        '; print("tensorflow" in sys.modules, "load" in names)'
    )
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ('False True\n', '')
    with pytest.raises(AttributeError, match="has no attribute 'nonsense'"):
        gpt2.nonsense  # noqa: B018
    assert gpt2.model.model is model
