"""GPT-2: parameters and the forward pass.

What OpenAI's code looked up as `scope` is here the nested dict of variables found under that
name: params['h0']['attn']['c_attn']['w'] is the checkpoint's model/h0/attn/c_attn/w.
Axes are [batch, sequence, features]; inside attention [batch, heads, sequence, features].
"""

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from .errors import UserError
from .hparams import HParams, default_hparams

__all__ = ['HParams', 'default_hparams', 'init_params', 'model', 'param_shapes']


def param_shapes(hparams: HParams) -> dict[str, tuple[int, ...]]:
    """Every variable's name and shape: 'h0/attn/c_attn/w' -> (1, n_embd, 3 * n_embd)."""
    nx = hparams.n_embd
    shapes = {'wpe': (hparams.n_ctx, nx), 'wte': (hparams.n_vocab, nx)}
    for layer in range(hparams.n_layer):
        for name, n_in, n_out in (
            ('ln_1', None, nx),
            ('attn/c_attn', nx, 3 * nx),
            ('attn/c_proj', nx, nx),
            ('ln_2', None, nx),
            ('mlp/c_fc', nx, 4 * nx),
            ('mlp/c_proj', 4 * nx, nx),
        ):
            if n_in is None:
                shapes[f'h{layer}/{name}/g'] = (n_out,)
            else:
                shapes[f'h{layer}/{name}/w'] = (1, n_in, n_out)
            shapes[f'h{layer}/{name}/b'] = (n_out,)
    return shapes | {'ln_f/g': (nx,), 'ln_f/b': (nx,)}


def nest(flat: dict) -> dict:
    """{'h0/ln_1/g': x} -> {'h0': {'ln_1': {'g': x}}}."""
    nested = {}
    for name, value in flat.items():
        *scopes, last = name.split('/')
        scope = nested
        for part in scopes:
            scope = scope.setdefault(part, {})
        scope[last] = value
    return nested


def flatten(nested: dict) -> dict:
    """{'h0': {'ln_1': {'g': x}}} -> {'h0/ln_1/g': x}."""
    flat = {}
    for name, value in nested.items():
        if isinstance(value, dict):
            flat |= {f'{name}/{rest}': leaf for rest, leaf in flatten(value).items()}
        else:
            flat[name] = value
    return flat


def init_params(hparams: HParams, seed: int | None = None) -> dict:
    """Fresh parameters: normal with deviation 0.02 (wpe 0.01), gains 1, biases 0.

    As the paper says, and OpenAI's code does not, projections into the residual stream
    are scaled by 1/sqrt(N), N the number of residual layers. Returns a nested dict of
    tf.Variable, float32.
    """
    if seed is None:
        random = tf.random.Generator.from_non_deterministic_state()
    else:
        random = tf.random.Generator.from_seed(seed)
    flat = {}
    for name, shape in param_shapes(hparams).items():
        if name.endswith('/g'):
            value = tf.ones(shape)
        elif name.endswith('/b'):
            value = tf.zeros(shape)
        else:
            stddev = 0.01 if name == 'wpe' else 0.02
            if name.endswith('c_proj/w'):
                stddev /= (2 * hparams.n_layer) ** 0.5
            value = random.normal(shape, stddev=stddev)
        flat[name] = tf.Variable(value, name=f'model/{name}')
    return nest(flat)


def shape_list(x) -> list:
    """A tensor's shape, with a scalar tensor for each dimension that is not known yet."""
    static = x.shape.as_list()
    dynamic = tf.shape(x)
    return [dynamic[i] if size is None else size for i, size in enumerate(static)]


def gelu(x):
    """The tanh approximation of x * P(X < x), as GPT-2 was trained with."""
    return 0.5 * x * (1 + tf.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * tf.pow(x, 3))))


def norm(x, scope, *, epsilon=1e-5):
    """Normalise the features to mean 0 and variance 1, then scale and shift them."""
    u = tf.reduce_mean(x, axis=-1, keepdims=True)
    s = tf.reduce_mean(tf.square(x - u), axis=-1, keepdims=True)
    return (x - u) * tf.math.rsqrt(s + epsilon) * scope['g'] + scope['b']


def split_states(x, n):
    """[..., features] -> [..., n, features / n]."""
    *start, m = shape_list(x)
    return tf.reshape(x, [*start, n, m // n])


def merge_states(x):
    """[..., a, b] -> [..., a * b]."""
    *start, a, b = shape_list(x)
    return tf.reshape(x, [*start, a * b])


def conv1d(x, scope):
    """A linear layer, called a convolution of width 1: w is [1, in, out].

    Or [out, in], as weights.for_sampling turns it. Whatever type w is stored in, the sums are
    in that of x.
    """
    *start, nx = shape_list(x)
    x, w, b = tf.reshape(x, [-1, nx]), tf.cast(scope['w'], x.dtype), scope['b']
    if len(w.shape) == 3:
        y = tf.matmul(x, w[0]) + b
    else:
        # Not + b: XLA would add it within the product of a single x, at two thirds of the speed.
        y = tf.transpose(tf.matmul(w, x, transpose_b=True) - (-b[:, None]))
    return tf.reshape(y, [*start, y.shape[-1]])


def attention_mask(nd, ns, *, dtype):
    """1 where one of nd new positions, the last of all ns, may look at one of them."""
    i = tf.range(nd)[:, None]
    j = tf.range(ns)
    return tf.cast(i >= j - ns + nd, dtype)


class Past(NamedTuple):
    """Keys and values of earlier positions [batch, heads, sequence, features], in one block.

    Only the first `filled` positions are looked at.
    """

    k: tf.Tensor
    v: tf.Tensor
    filled: tf.Tensor | int


def attn(x, scope, *, past, hparams, drop):
    """Self-attention. past: the block's Pasts, the earliest first."""

    def split_heads(x):
        return tf.transpose(split_states(x, hparams.n_head), [0, 2, 1, 3])

    def merge_heads(x):
        return merge_states(tf.transpose(x, [0, 2, 1, 3]))

    def mask_attn_weights(w, filled):
        *_, nd, ns = shape_list(w)
        b = attention_mask(nd, ns, dtype=w.dtype) * tf.cast(filled, w.dtype)
        return w * b - tf.cast(1e10, w.dtype) * (1 - b)

    def multihead_attn(q, pasts):
        sizes = [shape_list(past.k)[2] for past in pasts]
        filled = [tf.range(n) < past.filled for n, past in zip(sizes, pasts, strict=True)]
        w = tf.concat([tf.matmul(q, past.k, transpose_b=True) for past in pasts], axis=-1)
        w *= tf.math.rsqrt(tf.cast(q.shape[-1], w.dtype))
        w = drop(tf.nn.softmax(mask_attn_weights(w, tf.concat(filled, axis=0))))
        w = tf.split(w, sizes, axis=-1)
        return tf.add_n([tf.matmul(w, past.v) for w, past in zip(w, pasts, strict=True)])

    q, k, v = map(split_heads, tf.split(conv1d(x, scope['c_attn']), 3, axis=2))
    present = Past(k, v, shape_list(k)[2])
    a = merge_heads(multihead_attn(q, [*past, present]))
    return conv1d(a, scope['c_proj']), present


def mlp(x, scope):
    return conv1d(gelu(conv1d(x, scope['c_fc'])), scope['c_proj'])


def block(x, scope, *, past, hparams, drop):
    a, present = attn(norm(x, scope['ln_1']), scope['attn'], past=past, hparams=hparams, drop=drop)
    x = x + drop(a)
    m = mlp(norm(x, scope['ln_2']), scope['mlp'])
    x = x + drop(m)
    return x, present


def keep(place):
    """No dropout, anywhere."""
    return tf.identity


def split_past(past, filled=None) -> list[Past]:
    """For each block, its own: past is [batch, n_layer, 2, n_head, sequence, features]."""
    filled = shape_list(past)[4] if filled is None else filled
    return [Past(*tf.unstack(block, axis=1), filled) for block in tf.unstack(past, axis=1)]


def hidden(params, hparams: HParams, X, pasts=(), *, dropout=keep, recompute: bool = False):
    """What the logits are computed from, [batch, sequence, n_embd], and each block's Past of X.

    X: int32 [batch, sequence]. pasts: for each block the Pasts before X, the earliest first.

    For training: dropout(i) is what drops in block i, and in the embedding (i = n_layer);
    recompute computes a block anew for its gradients, instead of keeping what is in it.
    """
    X = tf.convert_to_tensor(X, tf.int32)
    pasts = pasts or [[]] * hparams.n_layer
    start = sum(past.filled for past in pasts[0])
    sequence = shape_list(X)[1]
    check(X, start + sequence, hparams)
    wte, wpe = params['wte'], params['wpe']
    h = tf.cast(tf.gather(wte, X), wpe.dtype) + tf.gather(wpe, start + tf.range(sequence))
    h = dropout(hparams.n_layer)(h)
    presents = []
    for layer, past in enumerate(pasts):

        def run(h, layer=layer, past=past):
            scope, drop = params[f'h{layer}'], dropout(layer)
            return block(h, scope, past=past, hparams=hparams, drop=drop)

        h, present = (tf.recompute_grad(run) if recompute else run)(h)
        presents.append(present)
    return norm(h, params['ln_f']), presents


def predict(params, h):
    """The logits, float32 [..., n_vocab], of what `hidden` gives."""
    wte = tf.cast(params['wte'], h.dtype)
    logits = tf.matmul(tf.reshape(h, [-1, h.shape[-1]]), wte, transpose_b=True)
    return tf.cast(tf.reshape(logits, [*shape_list(h)[:-1], wte.shape[0]]), tf.float32)


def model(params: dict, hparams: HParams, X, past=None) -> dict:
    """The logits of the token after each of X's, given those before it.

    X: int32 [batch, sequence]. past: None, or keys and values of earlier positions
    [batch, n_layer, 2, n_head, earlier, n_embd / n_head]. Returns {'logits': float32
    [batch, sequence, n_vocab], 'present': X's own keys and values, laid out like past}.

    Raises UserError or tf.errors.InvalidArgumentError for an id outside n_vocab or a position
    beyond n_ctx; where XLA compiles it, the ids are the caller's to check.
    """
    pasts = [] if past is None else [[block] for block in split_past(past)]
    h, presents = hidden(params, hparams, X, pasts)
    present = tf.stack([tf.stack([k, v], axis=1) for k, v, _ in presents], axis=1)
    return {'logits': predict(params, h), 'present': present}


def check(X, length, hparams: HParams) -> None:
    """Raise where a gather would clamp or give zeros, as it does on a GPU."""
    if isinstance(length, int) and length > hparams.n_ctx:
        raise UserError(f'{length} tokens are more than the n_ctx of {hparams.n_ctx}; shorten them')
    tf.debugging.assert_less_equal(length, hparams.n_ctx, 'more tokens than n_ctx')
    tf.debugging.assert_non_negative(X, 'a token id below 0')
    tf.debugging.assert_less(X, hparams.n_vocab, 'a token id outside n_vocab')
