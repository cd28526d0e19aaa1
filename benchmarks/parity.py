"""Prints how far our numbers are from OpenAI's own (tests/data) and from Transformers'."""

import importlib.util
from pathlib import Path

import numpy as np
import tensorflow as tf

from gpt2.checkpoint import load_params
from gpt2.model import HParams, model
from gpt2.model_folder import load_hparams
from gpt2.params import flatten, init_params
from gpt2.sample import sample_sequence, top_k_logits, top_p_logits

DATA = Path(__file__).resolve().parent.parent / 'tests' / 'data'


def show(name, ours, theirs):
    difference = np.abs(np.asarray(ours, np.float64) - theirs).max()
    print(f'{name:40} {np.shape(theirs)!s:28} {difference:.1e}')


def golden():
    hparams = load_hparams(DATA / 'tiny-random')
    params = load_params(DATA / 'tiny-random', hparams)
    arrays = np.load(DATA / 'forward.npz')
    tokens = arrays['tokens']
    whole = model(params, hparams, tokens)
    show('logits', whole['logits'], arrays['logits'])
    show('present', whole['present'], arrays['present'])
    past = model(params, hparams, tokens[:, :13])['present']
    rest = model(params, hparams, tokens[:, 13:], past=past)
    show('logits_with_past', rest['logits'], arrays['logits_with_past'])
    show('present_with_past', rest['present'], arrays['present_with_past'])
    full = model(params, hparams, arrays['tokens_full_context'])['logits'][:, -1]
    show('logits_full_context', full, arrays['logits_full_context'])
    greedy = arrays['greedy']
    ours = sample_sequence(params, hparams=hparams, length=48, context=greedy[:, :5], top_k=1)
    show('greedy', ours, greedy)
    for name in arrays:
        kind, _, value = name.rpartition('_')
        if kind == 'top_k':
            show(name, top_k_logits(arrays['trunc_in'], int(value)), arrays[name])
        if kind == 'top_p':
            show(name, top_p_logits(arrays['trunc_in'], float(value)), arrays[name])


def transformers_124m():
    import peers
    import torch

    hparams = HParams(n_vocab=50257)
    params = init_params(hparams, seed=0)
    for i, value in enumerate(flatten(params).values()):  # gains and biases too
        value.assign_add(tf.random.stateless_normal(value.shape, [1, i], stddev=0.02))
    tokens = np.random.default_rng(0).integers(0, hparams.n_vocab, [1, hparams.n_ctx])
    ours = model(params, hparams, tokens)['logits']
    with torch.no_grad():
        theirs = peers.transformers_model(params, hparams)(torch.from_numpy(tokens)).logits.numpy()
    print(f'logits reach from {theirs.min():.1f} to {theirs.max():.1f}')
    show('Transformers, 124M shape, logits', ours, theirs)


if __name__ == '__main__':
    golden()
    if importlib.util.find_spec('torch') and importlib.util.find_spec('transformers'):
        transformers_124m()
    else:
        print('Transformers and PyTorch are not installed; run: pip install torch transformers')
