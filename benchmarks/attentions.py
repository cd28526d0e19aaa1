"""Prints how far attention weights are from those of Transformers, computed eagerly."""

from pathlib import Path

import numpy as np
import peers
import tensorflow as tf

import gpt2
from gpt2 import cli, runtime
from gpt2.checkpoint import load_params
from gpt2.hparams import HParams
from gpt2.loading import Model
from gpt2.model_folder import load_hparams
from gpt2.params import flatten, init_params

DATA = Path(__file__).resolve().parent.parent / 'tests' / 'data'


def theirs(params, hparams: HParams, ids) -> np.ndarray:
    import torch

    peer = peers.transformers_model(params, hparams)
    peer.set_attn_implementation('eager')
    with torch.no_grad():
        found = peer(torch.tensor(ids[None], dtype=torch.long), output_attentions=True)
    return torch.cat(found.attentions).numpy()


def random_124m() -> Model:
    """Random parameters of the 124M shape, large enough that heads look somewhere."""
    hparams = HParams(n_vocab=50257)
    params = init_params(hparams, seed=0)
    for i, value in enumerate(flatten(params).values()):
        value.assign_add(tf.random.stateless_normal(value.shape, [1, i], stddev=0.02))
    return Model(params, hparams, None)


def compare(keep: bool = False):
    """
    Compare with Transformers: pip install torch transformers

    :keep=False : Write what Transformers gives for the tiny random model to tests/data
    """
    runtime.start()
    random = np.random.default_rng(0)
    hparams = load_hparams(DATA / 'tiny-random')
    tiny = Model(load_params(DATA / 'tiny-random', hparams), hparams, None)
    cases = {'tiny-random': (tiny, 24), 'demo': (gpt2.load('demo'), 256)}
    cases['random, of the 124M shape'] = (random_124m(), 600)
    for name, (model, n) in cases.items():
        ids = random.integers(0, model.hparams.n_vocab, n).astype(np.int32)
        expected = theirs(model.params, model.hparams, ids)
        difference = np.abs(model.attentions(ids) - expected).max()
        print(f'{name:28} {expected.shape!s:20} within {difference:.0e}')
        if keep and name == 'tiny-random':
            np.savez_compressed(DATA / 'attentions.npz', ids=ids, attentions=expected)


if __name__ == '__main__':
    cli.run(compare)
