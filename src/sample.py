"""Sampling: truncate the logits, draw a token, feed it back."""

import itertools
import secrets
from collections.abc import Iterator

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from .errors import UserError
from .hparams import HParams
from .model import model
from .options import check_options

CHUNK = 16  # tokens drawn between two returns to Python, where Ctrl-C is heard


def top_k_logits(logits, k: int):
    """Keep each row's k largest logits [batch, n_vocab], the rest become -1e10; 0 keeps all."""
    if k == 0:
        return logits
    values, _ = tf.math.top_k(logits, k=min(k, logits.shape[-1]))
    return tf.where(logits < values[:, -1:], -1e10, logits)


def top_p_logits(logits, p: float):
    """Nucleus sampling: keep each row's most probable tokens [batch, n_vocab], p of all in sum.

    As in the original, the token that crosses p is dropped, but never the most probable one.
    """
    sorted_logits = tf.sort(logits, direction='DESCENDING', axis=-1)
    cumulative_probs = tf.cumsum(tf.nn.softmax(sorted_logits, axis=-1), axis=-1)
    kept = tf.reduce_sum(tf.cast(cumulative_probs <= p, tf.int32), axis=-1)
    min_values = tf.gather(sorted_logits, tf.maximum(kept - 1, 0), batch_dims=1)
    return tf.where(logits < min_values[:, None], -1e10, logits)


def draw(logits, uniforms):
    """The token where each row's cumulative probability reaches its uniform number in (0, 1].

    Only a possible one: a sum in parts, as XLA's, may also rise a little at probability 0.
    """
    probs = tf.nn.softmax(logits)
    cumulative_probs = tf.where(probs > 0, tf.cumsum(probs, axis=-1), 0.0)
    total = tf.reduce_max(cumulative_probs, axis=-1, keepdims=True)
    reached = (probs > 0) & (cumulative_probs >= uniforms[:, None] * total)
    return tf.argmax(reached, axis=-1, output_type=tf.int32)


def sample_sequence(
    params,
    *,
    hparams: HParams,
    length: int,
    start_token: int | None = None,
    batch_size: int | None = None,
    context=None,
    temperature: float = 1,
    top_k: int = 0,
    top_p: float = 1,
    seed: int | None = None,
    first_sample: int = 0,
):
    """Continue `context` (ids [batch, n], or [n] for a batch of `batch_size`) or a start token.

    temperature 0 takes the most probable token; top_k 0 and top_p 1 keep all of them. A sample
    depends on `seed` and its own number, counted from `first_sample`, not on its batch.
    Returns int32 [batch, n + length]. Raises UserError for options out of range, for ids outside
    the vocabulary, and where n + length - 1 tokens do not fit into n_ctx.
    """
    check_options(
        hparams, length=length, temperature=temperature, top_k=top_k, top_p=top_p, seed=seed
    )
    if (start_token is None) == (context is None):
        raise UserError('give sample_sequence either a start_token or a context')
    context = np.atleast_1d(np.asarray(start_token if context is None else context, np.int32))
    if context.ndim == 1:
        context = np.tile(context, [batch_size or 1, 1])
    check_context(context, length, hparams)

    seed = secrets.randbits(64) if seed is None else seed
    numbers = range(first_sample, first_sample + len(context))
    # 1 - [0, 1) is (0, 1], as draw() wants it.
    uniforms = 1 - np.stack(
        [np.random.default_rng([seed, number]).random(length, np.float32) for number in numbers]
    )
    greedy = temperature < 1e-6  # below, the logits overflow
    n = context.shape[1]
    past = _prefill(params, hparams, context, size_class(n + length - 1, hparams))
    tokens = [tf.constant(context)]
    with tqdm(total=length, unit=' tokens', leave=False, disable=None) as progress:
        for start in range(0, length, CHUNK):
            count = min(CHUNK, length - start)
            past, drawn = draw_chunk(
                params,
                hparams,
                past,
                position=tf.constant(n - 1 + start),
                token=tokens[-1][:, -1],
                uniforms=tf.constant(_padded(uniforms[:, start : start + count], CHUNK)),
                count=tf.constant(count),
                temperature=tf.constant(1 if greedy else temperature, tf.float32),
                top_p=tf.constant(top_p, tf.float32),
                top_k=top_k,
                greedy=greedy,
                nucleus=top_p < 1,
            )
            tokens.append(drawn[:, :count])
            progress.update(count)
    return tf.concat(tokens, axis=1)


def samples(params, *, nsamples: int, batch_size: int, **options) -> Iterator[np.ndarray]:
    """Yield `nsamples` samples one by one, int32 [n + length], without end where it is 0.

    They are made `batch_size` at a time; `options` are sample_sequence's.
    """
    batch_size = min(batch_size, nsamples or batch_size)
    for first in (
        itertools.count(0, batch_size) if nsamples == 0 else range(0, nsamples, batch_size)
    ):
        batch = sample_sequence(params, batch_size=batch_size, first_sample=first, **options)
        yield from batch.numpy()[: nsamples - first if nsamples else batch_size]


def check_context(context: np.ndarray, length: int, hparams: HParams) -> None:
    """Raise UserError unless `context` [batch, n] can be continued by `length` tokens."""
    n = context.shape[1]
    if n == 0:
        raise UserError('the context is empty; give at least one token')
    if context.min() < 0 or context.max() >= hparams.n_vocab:
        raise UserError(f'the context has ids outside 0 to {hparams.n_vocab - 1}')
    if n > hparams.n_ctx:
        raise UserError(
            f'{n} tokens are more than the {hparams.n_ctx} of the context; shorten the prompt'
        )
    if n + length - 1 > hparams.n_ctx:
        raise UserError(
            f'after {n} tokens the context of {hparams.n_ctx} has no room for {length} more; '
            f'shorten the prompt or set --length to {hparams.n_ctx + 1 - n} or less'
        )


def size_class(n: int, hparams: HParams) -> int:
    """n as a power of two from 32 up, at most n_ctx, so that few shapes are compiled: 33 -> 64."""
    return min(max(32, 1 << (n - 1).bit_length()), hparams.n_ctx)


def _padded(x: np.ndarray, n: int) -> np.ndarray:
    """Zeros behind the rows of x up to n columns."""
    return np.pad(x, [(0, 0), (0, n - x.shape[1])])


def _prefill(params, hparams, context, size):
    """The past of all but the last token of `context`, with room for `size` positions."""
    batch, n = context.shape
    shape = [batch, hparams.n_layer, 2, hparams.n_head, size, hparams.n_embd // hparams.n_head]
    if n == 1:
        return tf.zeros(shape)
    known = size_class(n - 1, hparams)
    present = forward(params, hparams, tf.constant(_padded(context[:, :-1], known)))
    # What stands for the padding is never looked at: each position is written before it is read.
    return tf.pad(present, [[0, 0]] * 4 + [[0, max(size - known, 0)], [0, 0]])[..., :size, :]


@tf.function(jit_compile=True)
def forward(params, hparams, X):
    """The keys and values of X; its logits, unused, are not computed."""
    return model(params, hparams, X)['present']


@tf.function(jit_compile=True)
def draw_chunk(
    params,
    hparams,
    past,
    position,
    token,
    uniforms,
    count,
    temperature,
    top_p,
    top_k,
    greedy,
    nucleus,
):
    """Feed `token` [batch] at `position` and draw `count` tokens, one a column of `uniforms`.

    `past` has a fixed number of positions, so that each token costs the same and the shapes
    are compiled once. Returns the past with the new positions filled, and the tokens
    [batch, CHUNK], of which the first `count` are drawn.
    """

    def body(i, past, token, tokens):
        now = position + i
        step = model(params, hparams, token[:, None], past=past, past_length=now)
        past = tf.where((tf.range(past.shape[4]) == now)[:, None], step['present'], past)
        logits = step['logits'][:, -1, :]
        if greedy:
            token = tf.argmax(logits, axis=-1, output_type=tf.int32)
        else:
            logits = top_k_logits(logits / temperature, k=top_k)
            if nucleus:
                logits = top_p_logits(logits, p=top_p)
            token = draw(logits, uniforms[:, i])
        tokens = tf.where(tf.range(CHUNK) == i, token[:, None], tokens)
        return i + 1, past, token, tokens

    tokens = tf.zeros(uniforms.shape, tf.int32)
    _, past, _, tokens = tf.while_loop(
        lambda i, *_: i < count, body, [tf.constant(0), past, token, tokens]
    )
    return past, tokens
