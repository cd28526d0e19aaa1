"""Banded attention beside a plain mask in NumPy, and beside GPT-Neo's local layers.

Run as a script, with torch and transformers, it stores anew what GPT-Neo gives.
"""

import importlib.util

import numpy as np
import pytest
import tensorflow as tf

import gpt2
from conftest import DATA, write_model
from gpt2 import beam, fast, steps
from gpt2.asking import attentions
from gpt2.evaluation.score import Scorer
from gpt2.hparams import HParams
from gpt2.loading import Model
from gpt2.model import model
from gpt2.options import SamplingOptions
from gpt2.params import nest, param_shapes
from gpt2.sample import Drawn, generate
from gpt2.training.loss import language_loss

WINDOW = 20
SHAPE = {'n_vocab': 96, 'n_ctx': 200, 'n_embd': 24, 'n_head': 2, 'n_layer': 3}
HPARAMS = HParams(**SHAPE, attention=('banded', 'dense'), window=WINDOW)
DENSE = HParams(**SHAPE)


def random_params(hparams):
    """Large enough that heads look somewhere, the same on every machine."""
    flat = {}
    for i, (name, shape) in enumerate(param_shapes(hparams).items()):
        value = tf.random.stateless_normal(shape, [7, i], stddev=0.3)
        flat[name] = value + 1 if name.endswith('/g') else value
    return nest(flat)


@pytest.fixture(scope='module')
def params():
    return random_params(HPARAMS)


@pytest.fixture(scope='module')
def ids():
    return np.random.default_rng(3).integers(0, HPARAMS.n_vocab, [2, 150]).astype(np.int32)


# The model in NumPy, without a line of it that is fast


def norm(x, scope):
    x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
    return x * scope['g'] + scope['b']


def looks(hparams, layer, n):
    """Which position looks at which, each said on its own."""
    mask = np.zeros([n, n], bool)
    for i in range(n):
        for j in range(n):
            kind = hparams.attention[layer % len(hparams.attention)]
            mask[i, j] = j <= i and (kind == 'dense' or i - hparams.window < j)
    return mask


def plain(params, hparams, row):
    """The logits and the attention weights of one row of ids, in float64."""
    params = tf.nest.map_structure(lambda x: x.numpy().astype(np.float64), params)
    n, size = len(row), hparams.n_embd // hparams.n_head
    x, weights = params['wte'][row] + params['wpe'][:n], []

    def linear(x, scope):
        return x @ scope['w'][0] + scope['b']

    for layer in range(hparams.n_layer):
        scope = params[f'h{layer}']
        qkv = linear(norm(x, scope['ln_1']), scope['attn']['c_attn'])
        q, k, v = (y.reshape(n, hparams.n_head, size).swapaxes(0, 1) for y in np.split(qkv, 3, 1))
        w = np.where(looks(hparams, layer, n), q @ k.swapaxes(1, 2) / np.sqrt(size), -np.inf)
        w = np.exp(w - w.max(-1, keepdims=True))
        w /= w.sum(-1, keepdims=True)
        weights.append(w)
        x = x + linear((w @ v).swapaxes(0, 1).reshape(n, -1), scope['attn']['c_proj'])
        y = linear(norm(x, scope['ln_2']), scope['mlp']['c_fc'])
        y = 0.5 * y * (1 + np.tanh(np.sqrt(2 / np.pi) * (y + 0.044715 * y**3)))
        x = x + linear(y, scope['mlp']['c_proj'])
    return norm(x, params['ln_f']) @ params['wte'].T, np.stack(weights)


@pytest.fixture(scope='module')
def expected(params, ids):
    return np.stack([plain(params, HPARAMS, row)[0] for row in ids])


def close(found, expected):
    """To 1e-5 of the largest."""
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


# The forward pass


@pytest.mark.parametrize('queries', [256, 32])
def test_logits_are_those_of_the_plain_mask(params, ids, expected, monkeypatch, queries):
    monkeypatch.setattr(fast, 'QUERIES', queries)
    close(model(params, HPARAMS, ids)['logits'], expected)
    assert np.abs(model(params, DENSE, ids)['logits'] - expected).max() > 1


@pytest.mark.parametrize('first', [5, 60, 149])
def test_given_a_past(params, ids, expected, first):
    past = model(params, HPARAMS, ids[:, :first])['present']
    close(model(params, HPARAMS, ids[:, first:], past)['logits'], expected[:, first:])


def test_inside_a_function_with_unknown_dimensions(params, ids, expected):
    @tf.function(input_signature=[tf.TensorSpec([None, None], tf.int32)])
    def logits(X):
        past = model(params, HPARAMS, X[:, :50])['present']
        return model(params, HPARAMS, X[:, 50:], past=past)['logits']

    close(logits(ids), expected[:, 50:])


@pytest.mark.parametrize('queries', [256, 32])
def test_attention_weights(params, ids, monkeypatch, queries):
    monkeypatch.setattr(fast, 'QUERIES', queries)
    found = attentions(Model(params, HPARAMS, None), ids[0])
    np.testing.assert_allclose(found, plain(params, HPARAMS, ids[0])[1], atol=1e-5)
    assert not found[0, :, 40, : 41 - WINDOW].any() and found[0, :, 40, 41 - WINDOW].all()


def test_gradients_do_not_depend_on_slices(ids, monkeypatch):
    """Those of a slice at a time are those of the plain mask as a whole."""
    hparams = HParams(**vars(HPARAMS) | {'n_layer': 2})
    variables = tf.nest.map_structure(tf.Variable, random_params(hparams))
    flat = tf.nest.flatten(variables)

    def gradients():
        with tf.GradientTape() as tape:
            loss = language_loss(variables, hparams, ids, ids)
        return loss, list(map(tf.convert_to_tensor, tape.gradient(loss, flat)))

    _, whole = gradients()
    monkeypatch.setattr(fast, 'QUERIES', 32)
    loss, sliced = gradients()
    for found, expected in zip(sliced, whole, strict=True):
        close(found, expected)
    logits = np.stack([plain(variables, hparams, row)[0][:-1] for row in ids])
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=ids[:, 1:], logits=logits)
    assert float(loss) == pytest.approx(float(tf.reduce_mean(losses)), rel=1e-5)


# GPT-Neo, in Transformers: every second layer is local

NEO = HParams(
    **{'n_vocab': 64, 'n_ctx': 48, 'n_embd': 16, 'n_head': 2, 'n_layer': 4},
    **{'attention': ('dense', 'banded'), 'window': 7},
)


def gpt_neo(hparams, params, ids):
    """Its logits. Its queries are not scaled, and no bias is added to queries, keys and values."""
    import torch
    from transformers import GPTNeoConfig, GPTNeoForCausalLM

    config = GPTNeoConfig(
        vocab_size=hparams.n_vocab,
        max_position_embeddings=hparams.n_ctx,
        hidden_size=hparams.n_embd,
        num_heads=hparams.n_head,
        num_layers=hparams.n_layer,
        attention_types=[[['global', 'local'], hparams.n_layer // 2]],
        window_size=hparams.window,
    )
    state = {f'{name}.weight': params[name] for name in ('wte', 'wpe')}
    scopes = {'ln_f': params['ln_f']}
    for layer in range(hparams.n_layer):
        scope, name = params[f'h{layer}'], f'h.{layer}'
        q, k, v = tf.split(scope['attn']['c_attn']['w'][0], 3, axis=1)
        q *= (hparams.n_embd // hparams.n_head) ** -0.5
        for kind, w in zip('qkv', (q, k, v), strict=True):
            state[f'{name}.attn.attention.{kind}_proj.weight'] = tf.transpose(w)
        scopes |= {f'{name}.{norm}': scope[norm] for norm in ('ln_1', 'ln_2')}
        scopes[f'{name}.attn.attention.out_proj'] = scope['attn']['c_proj']
        scopes |= {f'{name}.mlp.{w}': scope['mlp'][w] for w in ('c_fc', 'c_proj')}
    for name, scope in scopes.items():
        state[f'{name}.weight'] = scope['g'] if 'g' in scope else tf.transpose(scope['w'][0])
        state[f'{name}.bias'] = scope['b']
    state = {f'transformer.{name}': torch.tensor(np.array(x)) for name, x in state.items()}
    peer = GPTNeoForCausalLM(config).eval()
    peer.load_state_dict(state | {'lm_head.weight': state['transformer.wte.weight']})
    with torch.no_grad():
        return peer(torch.tensor(ids, dtype=torch.long)).logits.numpy()


def neo_params():
    params = random_params(NEO)
    for layer in range(NEO.n_layer):
        scope = params[f'h{layer}']['attn']['c_attn']
        scope['b'] = tf.zeros_like(scope['b'])
    return params


@pytest.fixture(scope='module')
def neo():
    """ids [2, 48], and the logits that Transformers gave for them."""
    return dict(np.load(DATA / 'gpt_neo.npz'))


def test_logits_are_those_of_gpt_neo(neo):
    params = neo_params()
    close(model(params, NEO, neo['ids'])['logits'], neo['logits'])
    past = model(params, NEO, neo['ids'][:, :20])['present']
    close(model(params, NEO, neo['ids'][:, 20:], past)['logits'], neo['logits'][:, 20:])
    for window in (6, 8):  # another would be seen
        other = HParams(**vars(NEO) | {'window': window})
        assert np.abs(model(params, other, neo['ids'])['logits'] - neo['logits']).max() > 0.1


def test_what_is_stored_is_what_transformers_gives(neo):
    pytest.importorskip('torch')
    pytest.importorskip('transformers')
    if importlib.util.find_spec('triton'):
        pytest.skip('PyTorch with triton cannot be in one process with TensorFlow')
    close(gpt_neo(NEO, neo_params(), neo['ids']), neo['logits'])


# Sampling


def greedy(params, hparams, contexts, length, **options):
    """What is drawn, row by row, with the log-probabilities."""
    options = SamplingOptions(length=length, temperature=0, **options)
    drawn = list(generate(params, hparams, contexts, options))
    return tuple(np.concatenate([getattr(d, name) for d in drawn], 1) for name in Drawn._fields[:2])


def log_probs_of(params, hparams, context, tokens):
    """By the plain mask, and whether each token was the most probable one."""
    row = np.concatenate([context, tokens])
    logits = plain(params, hparams, row[:-1])[0][len(context) - 1 :]
    logs = logits - np.log(np.exp(logits - logits.max(-1, keepdims=True)).sum(-1, keepdims=True))
    logs -= logits.max(-1, keepdims=True)
    return logs[np.arange(len(tokens)), tokens], logs.max(-1)


@pytest.mark.parametrize('lengths', [[3, 90], [70, 70], [1, 37]], ids=str)
def test_sampled_tokens_over_rings(params, ids, lengths):
    """Prompts shorter and longer than the window, side by side, by several chunks."""
    contexts = [ids[i, :n] for i, n in enumerate(lengths)]
    tokens, log_probs = greedy(params, HPARAMS, contexts, 60)
    for context, row, figures in zip(contexts, tokens, log_probs, strict=True):
        logs, best = log_probs_of(params, HPARAMS, context, row)
        np.testing.assert_allclose(figures, logs, atol=1e-4)
        np.testing.assert_allclose(logs, best, atol=1e-4)


def test_beams_over_rings(params, ids):
    """Their scores are sums by the plain mask; and a single beam is what is most probable."""
    options = SamplingOptions(length=50, num_beams=3)
    found = beam.search(params, HPARAMS, ids[0, :45], options, None)
    for text in found:
        logs, _ = log_probs_of(params, HPARAMS, ids[0, :45], text.tokens)
        np.testing.assert_allclose(text.log_probs, logs, atol=1e-4)
        assert text.score == pytest.approx(logs.mean(), abs=1e-4)
    assert len(found) == 3 and found[0].score >= found[1].score


def test_beyond_the_context(params, ids):
    """The tokens after the context is full are those after what was read again."""
    context, keep = ids[0, :120], 60
    tokens, log_probs = (x[0] for x in greedy(params, HPARAMS, [context], 150, keep=keep))
    text, n_ctx = np.concatenate([context, tokens]), HPARAMS.n_ctx
    begin = n_ctx + 1 - keep  # of what is read again once n_ctx tokens are in the memory
    after = tokens[n_ctx + 1 - len(context) :]
    logs, best = log_probs_of(params, HPARAMS, text[begin : n_ctx + 1], after)
    np.testing.assert_allclose(log_probs[-len(after) :], logs, atol=1e-4)
    np.testing.assert_allclose(logs, best, atol=1e-4)


def test_a_ring_has_a_window_and_a_chunk(params, ids):
    memory = steps.read(params, HPARAMS, [ids[0, :140]], 60)
    ring, room = WINDOW + steps.CHUNK, HPARAMS.n_ctx + steps.CHUNK
    assert [[x.shape[2] for x in block] for block in memory] == [[ring] * 2, [room] * 2, [ring] * 2]
    dense = steps.read(params, DENSE, [ids[0, :140]], 60)
    assert {x.shape[2] for block in dense for x in block} == {room}


# Scoring


def test_scores(params, ids):
    """Of whole texts, and of continuations that share their context, of different lengths."""
    row, rest = ids[0], ids[1]
    requests = [(row[:1], row[1:150]), (row[:70], rest[:40]), (row[:70], rest[50:61])]
    found = Scorer(params, HPARAMS).score(requests)
    for (context, continuation), (logs, _) in zip(requests, found, strict=True):
        expected, _ = log_probs_of(params, HPARAMS, context, continuation)
        np.testing.assert_allclose(logs, expected, atol=1e-4)


# What is made of a model's folder


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp('models') / 'own'
    write_model(folder, HParams(**SHAPE | {'n_vocab': 1024}, attention=('banded',), window=4))
    return folder


@pytest.mark.parametrize('precision, most', [('float32', 1e-5), ('bfloat16', 0.02), ('int8', 0.02)])
def test_precisions(folder, ids, precision, most):
    params, hparams, _ = gpt2.load(str(folder))
    expected = model(params, hparams, ids[:, :60])['logits']
    params, hparams, _ = gpt2.load(str(folder), precision=precision)
    found = model(params, hparams, ids[:, :60])['logits']
    assert np.abs(found - expected).max() <= most * np.abs(expected).max()
    tokens, log_probs = greedy(params, hparams, [ids[0, :40]], 20)
    h = model(params, hparams, np.concatenate([ids[:1, :40], tokens[:, :-1]], 1))['logits']
    logs = tf.gather(tf.nn.log_softmax(h[0, 39:]), tokens[0], batch_dims=1)
    np.testing.assert_allclose(log_probs[0], logs, atol=max(1e-4, most))


def test_transformers_gpt2_has_no_such_attention(folder, run, tmp_path):
    done = run('convert.py', 'to_huggingface', folder, 'out')
    assert done.returncode == 2 and not (tmp_path / 'out').exists()
    assert "has banded attention, which Transformers' GPT2 has not; train a model" in done.stderr


def test_as_a_saved_model(folder, run, tmp_path, ids):
    assert run('convert.py', 'to_saved_model', folder, 'out').returncode == 0
    saved = tf.saved_model.load(str(tmp_path / 'out')).signatures['logits']
    params, hparams, _ = gpt2.load(str(folder))
    close(saved(ids=tf.constant(ids))['logits'], model(params, hparams, ids)['logits'])


if __name__ == '__main__':
    ids = np.random.default_rng(5).integers(0, NEO.n_vocab, [2, NEO.n_ctx]).astype(np.int32)
    logits = gpt_neo(NEO, neo_params(), ids)
    np.savez_compressed(DATA / 'gpt_neo.npz', ids=ids, logits=logits)
