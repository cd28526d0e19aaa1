"""GPT-2: the forward pass.

What OpenAI's code looked up as `scope` is here the nested dict of variables found under that
name: params['h0']['attn']['c_attn']['w'] is the checkpoint's model/h0/attn/c_attn/w.
Axes are [batch, sequence, features]; inside attention [batch, heads, sequence, features].
What is done for the machine's sake is in fast.py, where each function says its plain line.
"""

import numpy as np
import tensorflow as tf

from .cache import split_past
from .errors import UserError
from .fast import embed, fused, in_slices, linear, mix, scores, unembed
from .hparams import HParams, default_hparams
from .params import init_params

__all__ = ['HParams', 'default_hparams', 'init_params', 'model']


def shape_list(x) -> list:
    """A tensor's shape, with a scalar tensor for each dimension that is not known yet."""
    static = x.shape.as_list()
    dynamic = tf.shape(x)
    return [dynamic[i] if size is None else size for i, size in enumerate(static)]


@fused
def softmax(w, mask, *, scale):
    """The softmax of scores w [..., nd, ns] where mask [nd, ns] is true, 0 elsewhere."""
    masked = tf.where(mask, tf.cast(w, tf.float32) * scale, -1e10)
    return tf.cast(tf.nn.softmax(masked), w.dtype)


@fused
def gelu(x):
    """The tanh approximation of x * P(X < x), as GPT-2 was trained with."""
    y = tf.cast(x, tf.float32)
    y = 0.5 * y * (1 + tf.tanh(np.sqrt(2 / np.pi) * (y + 0.044715 * tf.pow(y, 3))))
    return tf.cast(y, x.dtype)


@fused
def exact_gelu(x):
    """x * P(X < x), as Cerebras-GPT was trained with."""
    y = tf.cast(x, tf.float32)
    return tf.cast(0.5 * y * (1 + tf.math.erf(y / np.sqrt(2))), x.dtype)


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


def merge_states(x):
    """[..., a, b] -> [..., a * b]."""
    *start, a, b = shape_list(x)
    return tf.reshape(x, [*start, a * b])


def conv1d(x, scope):
    """A linear layer, called a convolution of width 1: w is [1, in, out]."""
    *start, nx = shape_list(x)
    y = linear(tf.reshape(x, [-1, nx]), scope['w'], scope['b'])
    return tf.reshape(y, [*start, y.shape[-1]])


def attention_mask(nd, ns, window=None, past=0):
    """True where one of nd new positions, the last of all ns, may look at one of them; at no more
    than `window`, its own the last. For the first `past` of them `scores` has seen to that."""
    i = tf.range(nd)[:, None] + ns - nd
    j = tf.range(ns)
    return i >= j if window is None else (i >= j) & ((i - window < j) | (j < past))


def attn(x, scope, *, past, window, hparams, drop):
    """Self-attention; also the keys and values of x. past: the block's, the earliest first."""

    def split_heads(x):
        return tf.transpose(split_states(x, hparams.n_head), [0, 2, 1, 3])

    def merge_heads(x):
        return merge_states(tf.transpose(x, [0, 2, 1, 3]))

    def multihead_attn(q, k, v, number):
        w = scores(q, k, past, window)
        *_, nd, ns = shape_list(w)
        mask = attention_mask(nd, ns, window, ns - shape_list(k)[2])
        w = softmax(w, mask, scale=q.shape[-1] ** -0.5)
        return mix(drop(w, 2 + number), v, past)

    q, k, v = map(split_heads, tf.split(conv1d(x, scope['c_attn']), 3, axis=2))
    a = merge_heads(in_slices(multihead_attn, window)(q, k, v))
    return conv1d(a, scope['c_proj']), (k, v)


def mlp(x, scope, *, hparams):
    activate = exact_gelu if hparams.activation_function == 'gelu' else gelu
    return conv1d(activate(conv1d(x, scope['c_fc'])), scope['c_proj'])


def block(x, scope, *, past, window, hparams, drop):
    given = {'past': past, 'window': window, 'hparams': hparams, 'drop': drop}
    a, present = attn(norm(x, scope['ln_1']), scope['attn'], **given)
    x = x + tf.cast(drop(a, 0), x.dtype)
    m = mlp(norm(x, scope['ln_2']), scope['mlp'], hparams=hparams)
    x = x + tf.cast(drop(m, 1), x.dtype)
    return x, present


def as_it_is(x, number):
    """No dropout."""
    return x


def positions_for(tokens, past_length, n_ctx):
    """Those of tokens [batch, sequence] after past_length others: one number, or one a row.

    What pads a row may stand beyond n_ctx: it gets the last position.
    """
    past_length = tf.reshape(past_length, [-1, 1])
    return tf.minimum(past_length + tf.range(shape_list(tokens)[1]), n_ctx - 1)


def hidden(params, hparams: HParams, X, pasts=(), *, block=block, dropout=lambda place: as_it_is):
    """What the logits are computed from, [batch, sequence, n_embd], and the present of each block.

    X: int32 [batch, sequence]. pasts: for each block the cache.Pasts before X, the earliest
    first. A present is (k, v), the block's keys and values of X.
    block: what computes one, `block` itself or what wraps it. dropout: dropout(i) is what drops
    in block i, and in the embedding (i = n_layer).
    """
    X = tf.convert_to_tensor(X, tf.int32)
    pasts = pasts or [[]] * hparams.n_layer
    past_length = sum(past.filled for past in pasts[0])
    check(X, past_length, hparams)
    wte, wpe = params['wte'], params['wpe']
    positions = positions_for(X, past_length, hparams.n_ctx)
    h = embed(wte, X) + tf.gather(wpe, positions)
    h = dropout(hparams.n_layer)(h, 0)
    presents = []
    for layer, past in enumerate(pasts):
        scope, drop = params[f'h{layer}'], dropout(layer)
        window = hparams.window_of(layer)
        h, present = block(h, scope, past=past, window=window, hparams=hparams, drop=drop)
        presents.append(present)
    return norm(h, params['ln_f']), presents


def predict(params, h):
    """The logits, float32 [..., n_vocab], of what `hidden` gives."""
    *start, nx = shape_list(h)
    logits = unembed(tf.reshape(h, [-1, nx]), params['wte'])
    return tf.reshape(logits, [*start, logits.shape[-1]])


def model(params: dict, hparams: HParams, X, past=None) -> dict:
    """The logits of the token after each of X's, given those before it.

    X: int32 [batch, sequence]. past: None, or keys and values of earlier positions
    [batch, n_layer, 2, n_head, earlier, n_embd / n_head]. Returns {'logits': float32
    [batch, sequence, n_vocab], 'present': X's own keys and values, laid out like past}.

    Raises UserError or tf.errors.InvalidArgumentError for an id outside n_vocab or a position
    beyond n_ctx; where XLA compiles it, the ids are the caller's to check.
    """
    pasts = [] if past is None else [[layer] for layer in split_past(past)]
    h, presents = hidden(params, hparams, X, pasts)
    present = tf.stack([tf.stack([k, v], axis=1) for k, v in presents], axis=1)
    return {'logits': predict(params, h), 'present': present}


def check(X, past_length, hparams: HParams) -> None:
    """Raise where a gather would clamp or give zeros, as it does on a GPU.

    Where past_length is one for each row, how far rows reach is the caller's to check.
    """
    length = past_length + shape_list(X)[1]
    if isinstance(length, int) and length > hparams.n_ctx:
        raise UserError(f'{length} tokens are more than the n_ctx of {hparams.n_ctx}; shorten them')
    if isinstance(length, int) or length.shape.rank == 0:
        tf.debugging.assert_less_equal(length, hparams.n_ctx, 'more tokens than n_ctx')
    tf.debugging.assert_non_negative(X, 'a token id below 0')
    tf.debugging.assert_less(X, hparams.n_vocab, 'a token id outside n_vocab')
