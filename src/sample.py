"""Sampling: truncate the logits, draw a token, feed it back."""

import itertools
import secrets
import time
from collections.abc import Callable, Iterator

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from . import runtime
from .errors import UserError
from .hparams import HParams
from .model import Past, block, hidden, predict
from .options import check_options

CHUNK = 16  # most tokens drawn between two returns to Python, where Ctrl-C is heard
BLOCK = 256  # tokens whose probabilities are summed first when one is drawn

LESS = 'set a lower --batch_size or --length, or --precision bfloat16'

one_block = tf.function(block, autograph=False)  # traced once, not n_layer times


def top_k_logits(logits, k: int):
    """Keep each row's k largest logits [batch, n_vocab], the rest become -1e10; 0 keeps all."""
    if k == 0:
        return logits
    values, _ = tf.math.top_k(logits, k=min(k, logits.shape[-1]))
    # Not values[:, -1:], for which XLA would sort the whole vocabulary.
    return tf.where(logits < tf.reduce_min(values, axis=-1, keepdims=True), -1e10, logits)


def top_p_logits(logits, p: float):
    """Nucleus sampling: keep each row's most probable tokens [batch, n_vocab], p of all in sum.

    As in the original, the token that crosses p is dropped, but never the most probable one.
    The least probability kept is found by bisection, as a sort takes ten times as long.
    """
    probs = tf.nn.softmax(logits)

    def mass(kept):
        return tf.reduce_sum(tf.where(kept, probs, 0.0), axis=-1, keepdims=True)

    def halve(low, high):
        middle = (low + high) // 2
        fits = mass(probs >= tf.bitcast(middle, tf.float32)) <= limit
        return tf.where(fits, low, middle), tf.where(fits, middle, high)

    # A float that is not negative is in the order of its bits: those from `high` up fit, those
    # from `low` up do not.
    limit = p * mass(probs >= 0)
    most = tf.reduce_max(probs, axis=-1, keepdims=True)
    high = tf.bitcast(most, tf.int32) + 1
    low = tf.fill(tf.shape(high), -1)
    _, high = tf.while_loop(lambda low, high: tf.reduce_any(low + 1 < high), halve, [low, high])
    return tf.where(probs < tf.minimum(tf.bitcast(high, tf.float32), most), -1e10, logits)


def draw(logits, uniforms):
    """The token where each row's cumulative probability reaches its uniform number in (0, 1].

    First the block of tokens is found where it does, then the token in it.
    """
    batch, n = logits.shape
    probs = tf.pad(tf.nn.softmax(logits), [[0, 0], [0, -n % BLOCK]])
    probs = tf.reshape(probs, [batch, -1, BLOCK])
    sums = tf.reduce_sum(probs, axis=-1)
    block, rest = _reach(sums, uniforms * tf.reduce_sum(sums, axis=-1))
    token, _ = _reach(tf.gather(probs, block, batch_dims=1), rest)
    return block * BLOCK + token


def _reach(probs, target):
    """Where the cumulative sum of each row [batch, n] reaches a target [batch], and what is left.

    Only a possible one: a sum in parts, as XLA's, may also rise a little at probability 0.
    """
    sums = tf.where(probs > 0, tf.cumsum(probs, axis=-1), 0.0)
    target = tf.minimum(target, tf.reduce_max(sums, axis=-1))
    reached = (probs > 0) & (sums >= target[:, None])
    i = tf.argmax(reached, axis=-1, output_type=tf.int32)
    return i, target - tf.gather(sums - probs, i, batch_dims=1)


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
    show: Callable[[np.ndarray], None] | None = None,
):
    """Continue `context` (ids [batch, n], or [n] for a batch of `batch_size`) or a start token.

    temperature 0 takes the most probable token; top_k 0 and top_p 1 keep all of them. A sample
    depends on `seed` and its own number, counted from `first_sample`, not on its batch (but for
    the rounding of parameters in bfloat16).
    show: is given the new tokens [batch, some] as they come, in place of a progress bar.
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
    filled = context.shape[1] - 1
    tokens = [tf.constant(context)]

    def draw_next(start, count):
        drawn = draw_chunk(
            params,
            hparams,
            cache,
            filled=tf.constant(filled + start),
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
        if show:
            show(tokens[-1].numpy())

    with runtime.explained(LESS):
        with runtime.waiting('Compiling ...'):
            cache = begin_cache(params, hparams, context[:, :-1], room=filled + length)
            draw_next(0, 1)
        pause = 0.15 if show else 0.5  # seconds: those who watch are told more often
        with tqdm(
            total=length, initial=1, unit=' tokens', leave=False, disable=True if show else None
        ) as bar:
            start = count = 1
            while start < length:
                began = time.perf_counter()
                draw_next(start, count)
                bar.update(count)
                start += count
                in_time = int(count * pause / (time.perf_counter() - began))
                count = min(max(1, in_time), CHUNK, length - start)
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


def begin_cache(params, hparams: HParams, context: np.ndarray, room: int) -> list[list]:
    """For each block its keys and values of `context` [batch, n], n may be 0, in variables.

    They have room for `room` positions and what a chunk may write beyond, so that each token costs
    the same, few shapes are compiled, and nothing is copied to grow.
    """
    batch, n = context.shape
    if n:
        presents = forward(params, hparams, tf.constant(_padded(context, size_class(n, hparams))))
    else:
        none = tf.zeros([batch, hparams.n_head, 0, hparams.n_embd // hparams.n_head])
        presents = [Past(none, none, 0)] * hparams.n_layer
    size = size_class(room, hparams) + CHUNK

    def place(x):
        return tf.Variable(tf.pad(x, [[0, 0], [0, 0], [0, size - x.shape[2]], [0, 0]]))

    return [[place(past.k), place(past.v)] for past in presents]


@tf.function(autograph=False)
def forward(params, hparams, X):
    """Each block's Past of X [batch, n]. Not compiled: that takes longer than a few prompts."""
    return hidden(params, hparams, X, block=one_block)[1]


@tf.function(jit_compile=True, autograph=False)
def draw_chunk(
    params,
    hparams,
    cache,
    filled,
    token,
    uniforms,
    count,
    temperature,
    top_p,
    top_k,
    greedy,
    nucleus,
):
    """Feed `token` [batch] after the first `filled` positions of `cache`, and draw `count` tokens,
    one a column of `uniforms`.

    Returns the tokens [batch, CHUNK], the first `count` filled; the cache has what was fed.
    """
    pasts = [Past(k.value(), v.value(), filled) for k, v in cache]

    def body(i, token, tokens, recent):
        both = [[past, Past(k, v, i)] for past, (k, v) in zip(pasts, recent, strict=True)]
        h, presents = hidden(params, hparams, token[:, None], both, block=one_block)
        here = (tf.range(CHUNK) == i)[:, None]
        recent = [
            [tf.where(here, new, old) for new, old in zip(present, earlier, strict=False)]
            for present, earlier in zip(presents, recent, strict=True)
        ]
        logits = predict(params, h)[:, -1]
        if greedy:
            token = tf.argmax(logits, axis=-1, output_type=tf.int32)
        else:
            logits = top_k_logits(logits / temperature, k=top_k)
            if nucleus:
                logits = top_p_logits(logits, p=top_p)
            token = draw(logits, uniforms[:, i])
        tokens = tf.where(tf.range(CHUNK) == i, token[:, None], tokens)
        return i + 1, token, tokens, recent

    tokens = tf.zeros(uniforms.shape, tf.int32)
    batch, heads, _, features = pasts[0].k.shape
    recent = [[tf.zeros([batch, heads, CHUNK, features])] * 2] * len(pasts)
    _, _, tokens, recent = tf.while_loop(
        lambda i, *_: i < count, body, [tf.constant(0), token, tokens, recent]
    )
    # Not a slice of the variable: XLA would compile each `filled` anew.
    place = tf.range(pasts[0].k.shape[2]) - filled
    fresh = ((place >= 0) & (place < CHUNK))[:, None]
    place = tf.clip_by_value(place, 0, CHUNK - 1)
    for variable, new in zip(tf.nest.flatten(cache), tf.nest.flatten(recent), strict=True):
        variable.assign(tf.where(fresh, tf.gather(new, place, axis=2), variable))
    return tokens
