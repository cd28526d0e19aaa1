"""GPT-2: parameters and the forward pass.

What OpenAI's code looked up as `scope` is here the nested dict of variables found under that
name: params['h0']['attn']['c_attn']['w'] is the checkpoint's model/h0/attn/c_attn/w.
Axes are [batch, sequence, features]; inside attention [batch, heads, sequence, features].
"""

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
    """A linear layer, called a convolution of width 1: w is [1, in, out]."""
    *start, nx = shape_list(x)
    nf = scope['w'].shape[-1]
    return tf.reshape(
        tf.matmul(tf.reshape(x, [-1, nx]), tf.reshape(scope['w'], [nx, nf])) + scope['b'],
        [*start, nf],
    )


def attention_mask(nd, ns, past_length, *, dtype):
    """1 where one of nd new positions may look at one of ns: the past, then the new so far.

    The first ns - nd belong to the past, of which `past_length` are filled.
    """
    i = tf.range(nd)[:, None]
    j = tf.range(ns)
    return tf.cast((j < past_length) | ((j >= ns - nd) & (i >= j - ns + nd)), dtype)


def attn(x, scope, *, past, past_length, hparams, drop):
    """Self-attention. past: [batch, 2, heads, sequence, features], keys and values."""

    def split_heads(x):
        return tf.transpose(split_states(x, hparams.n_head), [0, 2, 1, 3])

    def merge_heads(x):
        return merge_states(tf.transpose(x, [0, 2, 1, 3]))

    def mask_attn_weights(w):
        *_, nd, ns = shape_list(w)
        b = attention_mask(nd, ns, past_length, dtype=w.dtype)
        return w * b - tf.cast(1e10, w.dtype) * (1 - b)

    def multihead_attn(q, k, v):
        w = tf.matmul(q, k, transpose_b=True)
        w *= tf.math.rsqrt(tf.cast(v.shape[-1], w.dtype))
        w = tf.nn.softmax(mask_attn_weights(w))
        return tf.matmul(drop(w), v)

    q, k, v = map(split_heads, tf.split(conv1d(x, scope['c_attn']), 3, axis=2))
    present = tf.stack([k, v], axis=1)
    if past is not None:
        pk, pv = tf.unstack(past, axis=1)
        k = tf.concat([pk, k], axis=-2)
        v = tf.concat([pv, v], axis=-2)
    a = merge_heads(multihead_attn(q, k, v))
    return conv1d(a, scope['c_proj']), present


def mlp(x, scope):
    return conv1d(gelu(conv1d(x, scope['c_fc'])), scope['c_proj'])


def block(x, scope, *, past, past_length, hparams, drop):
    options = {'past': past, 'past_length': past_length, 'hparams': hparams, 'drop': drop}
    a, present = attn(norm(x, scope['ln_1']), scope['attn'], **options)
    x = x + drop(a)
    m = mlp(norm(x, scope['ln_2']), scope['mlp'])
    x = x + drop(m)
    return x, present


def keep(place):
    """No dropout, anywhere."""
    return tf.identity


def model(
    params: dict,
    hparams: HParams,
    X,
    past=None,
    past_length=None,
    *,
    dropout=keep,
    recompute: bool = False,
) -> dict:
    """The logits of the token after each of X's, given those before it.

    X: int32 [batch, sequence]. past: None, or keys and values of earlier positions
    [batch, n_layer, 2, n_head, earlier, n_embd / n_head], of which the first `past_length`
    are filled (all of them where None). Returns {'logits': float32 [batch, sequence, n_vocab],
    'present': X's own keys and values, laid out like past}.

    For training: dropout(i) is what drops in block i, and in the embedding (i = n_layer);
    recompute computes a block anew for its gradients, instead of keeping what is in it.

    Raises UserError or tf.errors.InvalidArgumentError for an id outside n_vocab or a position
    beyond n_ctx; where XLA compiles it, ids and a past_length tensor are the caller's to check.
    """
    X = tf.convert_to_tensor(X, tf.int32)
    batch, sequence = shape_list(X)
    if past_length is None:
        past_length = 0 if past is None else shape_list(past)[-2]
    check(X, past_length + sequence, hparams)
    h = tf.gather(params['wte'], X) + tf.gather(params['wpe'], past_length + tf.range(sequence))
    h = dropout(hparams.n_layer)(h)
    pasts = [None] * hparams.n_layer if past is None else tf.unstack(past, axis=1)
    presents = []
    for layer, past in enumerate(pasts):

        def run(h, layer=layer, past=past):
            options = {'past': past, 'past_length': past_length, 'hparams': hparams}
            return block(h, params[f'h{layer}'], drop=dropout(layer), **options)

        h, present = (tf.recompute_grad(run) if recompute else run)(h)
        presents.append(present)
    h = norm(h, params['ln_f'])
    h_flat = tf.reshape(h, [batch * sequence, hparams.n_embd])
    logits = tf.matmul(h_flat, params['wte'], transpose_b=True)
    return {
        'logits': tf.reshape(logits, [batch, sequence, hparams.n_vocab]),
        'present': tf.stack(presents, axis=1),
    }


def check(X, length, hparams: HParams) -> None:
    """Raise where a gather would clamp or give zeros, as it does on a GPU."""
    if isinstance(length, int) and length > hparams.n_ctx:
        raise UserError(f'{length} tokens are more than the n_ctx of {hparams.n_ctx}; shorten them')
    tf.debugging.assert_less_equal(length, hparams.n_ctx, 'more tokens than n_ctx')
    tf.debugging.assert_non_negative(X, 'a token id below 0')
    tf.debugging.assert_less(X, hparams.n_vocab, 'a token id outside n_vocab')
