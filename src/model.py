"""GPT-2: parameters and the forward pass.

What OpenAI's code looked up as `scope` is here the nested dict of variables found under that
name: params['h0']['attn']['c_attn']['w'] is the checkpoint's model/h0/attn/c_attn/w.
Axes are [batch, sequence, features]; inside attention [batch, heads, sequence, features].
"""

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from .errors import UserError
from .fast import linear, logits
from .fused import fused
from .hparams import HParams, default_hparams
from .params import init_params

__all__ = ['HParams', 'default_hparams', 'init_params', 'model']

SLICE = 256  # queries whose attention weights exist at once


def shape_list(x) -> list:
    """A tensor's shape, with a scalar tensor for each dimension that is not known yet."""
    static = x.shape.as_list()
    dynamic = tf.shape(x)
    return [dynamic[i] if size is None else size for i, size in enumerate(static)]


@fused
def gelu(x):
    """The tanh approximation of x * P(X < x), as GPT-2 was trained with."""
    y = tf.cast(x, tf.float32)
    y = 0.5 * y * (1 + tf.tanh(np.sqrt(2 / np.pi) * (y + 0.044715 * tf.pow(y, 3))))
    return tf.cast(y, x.dtype)


def norm(x, scope, *, epsilon=1e-5):
    """Normalise the features to mean 0 and variance 1, then scale and shift them."""
    return _norm(x, scope['g'], scope['b'], epsilon=epsilon)


@fused
def _norm(x, g, b, *, epsilon):
    x = tf.cast(x, tf.float32)
    u = tf.reduce_mean(x, axis=-1, keepdims=True)
    s = tf.reduce_mean(tf.square(x - u), axis=-1, keepdims=True)
    x = (x - u) * tf.math.rsqrt(s + epsilon)
    return tf.cast(x, g.dtype) * g + b


def split_states(x, n):
    """[..., features] -> [..., n, features / n]."""
    *start, m = shape_list(x)
    return tf.reshape(x, [*start, n, m // n])


def slice_sizes(n, size) -> list:
    """1100, 512 -> [512, 512, 76]; one slice where n is not known yet."""
    if not isinstance(n, int):
        return [n]
    return [min(size, n - start) for start in range(0, n, size)]


def merge_states(x):
    """[..., a, b] -> [..., a * b]."""
    *start, a, b = shape_list(x)
    return tf.reshape(x, [*start, a * b])


def conv1d(x, scope):
    """A linear layer, called a convolution of width 1: w is [1, in, out].

    Or [out, in], as weights.for_sampling turns it.
    """
    *start, nx = shape_list(x)
    y = linear(tf.reshape(x, [-1, nx]), scope['w'], scope['b'])
    return tf.reshape(y, [*start, y.shape[-1]])


def attention_mask(nd, ns):
    """True where one of nd new positions, the last of all ns, may look at one of them."""
    i = tf.range(nd)[:, None]
    j = tf.range(ns)
    return i >= j - ns + nd


@fused
def attention_weights(w, mask, *, scale):
    """The softmax of scores w [..., nd, ns] where mask [nd, ns] is true, 0 elsewhere."""
    masked = tf.where(mask, tf.cast(w, tf.float32) * scale, -1e10)
    return tf.cast(tf.nn.softmax(masked), w.dtype)


class Past(NamedTuple):
    """Keys and values of earlier positions [batch, heads, sequence, features], in one block.

    Only the first `filled` positions are looked at; for each row [batch, 1, 1, 1], or for all.
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

    def attend(q, own, slice):
        w = [
            tf.where(tf.range(shape_list(k)[2]) < filled, tf.matmul(q, k, transpose_b=True), -1e10)
            for k, _, filled in past
        ]
        w = tf.concat([*w, tf.matmul(q, own.k, transpose_b=True)], axis=-1)
        *_, nd, ns = shape_list(w)
        w = attention_weights(w, attention_mask(nd, ns), scale=q.shape[-1] ** -0.5)
        sizes = [shape_list(piece.k)[2] for piece in (*past, own)]
        w = tf.split(drop(w, 2 + slice), sizes, axis=-1)
        a = [tf.matmul(w, piece.v) for w, piece in zip(w, (*past, own), strict=True)]
        # Not tf.add_n: XLA would add them anew for each row of a product with them.
        return tf.tensordot(tf.ones([len(a)], q.dtype), tf.stack(a), 1) if past else a[0]

    def multihead_attn(q, k, v):
        sizes = slice_sizes(shape_list(q)[2], SLICE)
        q, k, v = (tf.split(x, sizes, axis=2) for x in (q, k, v))
        a = []
        for i in range(len(sizes)):
            own = Past(tf.concat(k[: i + 1], 2), tf.concat(v[: i + 1], 2), sum(sizes[: i + 1]))
            a.append(attend(q[i], own, i))
        return tf.concat(a, axis=2)

    q, k, v = map(split_heads, tf.split(conv1d(x, scope['c_attn']), 3, axis=2))
    # The weights would be most of what a training step keeps; they are cheap to compute anew.
    a = merge_heads(tf.recompute_grad(multihead_attn)(q, k, v))
    return conv1d(a, scope['c_proj']), Past(k, v, shape_list(k)[2])


def mlp(x, scope):
    return conv1d(gelu(conv1d(x, scope['c_fc'])), scope['c_proj'])


def block(x, scope, *, past, hparams, drop):
    a, present = attn(norm(x, scope['ln_1']), scope['attn'], past=past, hparams=hparams, drop=drop)
    x = x + tf.cast(drop(a, 0), x.dtype)
    m = mlp(norm(x, scope['ln_2']), scope['mlp'])
    x = x + tf.cast(drop(m, 1), x.dtype)
    return x, present


def keep(place):
    """No dropout, anywhere."""
    return _kept


def _kept(x, number):
    return x


def split_past(past, filled=None) -> list[Past]:
    """For each block, its own: past is [batch, n_layer, 2, n_head, sequence, features]."""
    filled = shape_list(past)[4] if filled is None else filled
    return [Past(*tf.unstack(block, axis=1), filled) for block in tf.unstack(past, axis=1)]


def hidden(
    params,
    hparams: HParams,
    X,
    pasts=(),
    *,
    block=block,
    dropout=keep,
    recompute: bool = False,
    dtype=None,
):
    """What the logits are computed from, [batch, sequence, n_embd], and each block's Past of X.

    X: int32 [batch, sequence]. pasts: for each block the Pasts before X, the earliest first.
    What a block computes has the type of its gains, but for means, variances and softmax, which
    are float32; the sum over the blocks has the type of wpe.

    block: what computes one, as `block` does.

    For training: dropout(i) is what drops in block i, and in the embedding (i = n_layer);
    recompute computes a block anew for its gradients, instead of keeping what is in it, and
    gives no Pasts; dtype is what the parameters of blocks and the last norm are cast to.
    """

    def cast(scope, h):
        if not dtype:
            return scope
        with tf.control_dependencies([h]):  # not all blocks' at once
            return tf.nest.map_structure(lambda x: tf.cast(x, dtype), scope)

    X = tf.convert_to_tensor(X, tf.int32)
    pasts = pasts or [[]] * hparams.n_layer
    start = sum(past.filled for past in pasts[0])
    sequence = shape_list(X)[1]
    check(X, start + sequence, hparams)
    wte, wpe = params['wte'], params['wpe']
    h = tf.cast(tf.gather(wte, X), wpe.dtype) + tf.gather(wpe, start + tf.range(sequence))
    h = dropout(hparams.n_layer)(h, 0)
    presents = []
    for layer, past in enumerate(pasts):

        def run(h, layer=layer, past=past):
            scope, drop = cast(params[f'h{layer}'], h), dropout(layer)
            return block(h, scope, past=past, hparams=hparams, drop=drop)

        if recompute:
            h = tf.recompute_grad(lambda h, run=run: run(h)[0])(h)
        else:
            h, present = run(h)
            presents.append(present)
    return norm(h, cast(params['ln_f'], h)), presents


def predict(params, h):
    """The logits, float32 [..., n_vocab], of what `hidden` gives."""
    *start, nx = shape_list(h)
    y = logits(tf.reshape(h, [-1, nx]), params['wte'])
    return tf.reshape(y, [*start, y.shape[-1]])


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
