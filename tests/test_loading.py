import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

import gpt2
from gpt2.model import model
from gpt2.params import flatten


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
    with pytest.raises(gpt2.UserError, match='no model in .*nothing'):
        gpt2.find('nothing', tiny.parent)


def test_from_any_folder_for_a_clone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert gpt2.find('demo').hparams.n_ctx == 256


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
