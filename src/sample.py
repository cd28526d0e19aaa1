"""Sampling: truncate the logits, draw a token, feed it back."""

import itertools
import secrets
import time
from collections.abc import Iterator, Sequence
from contextlib import nullcontext

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from . import cache, runtime
from .cache import Past
from .errors import UserError
from .hparams import HParams
from .model import block, hidden, predict
from .options import SamplingOptions, check_context

CHUNK = 16  # most tokens drawn between two returns to Python, where Ctrl-C is heard
GROUP = 256  # tokens whose probabilities are summed first when one is drawn

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

    First the group of tokens is found where it does, then the token in it.
    """
    batch, n = logits.shape
    probs = tf.pad(tf.nn.softmax(logits), [[0, 0], [0, -n % GROUP]])
    probs = tf.reshape(probs, [batch, -1, GROUP])
    sums = tf.reduce_sum(probs, axis=-1)
    group, rest = _reach(sums, uniforms * tf.reduce_sum(sums, axis=-1))
    token, _ = _reach(tf.gather(probs, group, batch_dims=1), rest)
    return group * GROUP + token


def _reach(probs, target):
    """Where the cumulative sum of each row [batch, n] reaches a target [batch], and what is left.

    Only a possible one: a sum in parts, as XLA's, may also rise a little at probability 0.
    """
    sums = tf.where(probs > 0, tf.cumsum(probs, axis=-1), 0.0)
    target = tf.minimum(target, tf.reduce_max(sums, axis=-1))
    reached = (probs > 0) & (sums >= target[:, None])
    i = tf.argmax(reached, axis=-1, output_type=tf.int32)
    return i, target - tf.gather(sums - probs, i, batch_dims=1)


def generate(
    params,
    hparams: HParams,
    contexts: Sequence[Sequence[int]],
    options: SamplingOptions,
    *,
    first_sample: int = 0,
    pause: float = 0.15,
) -> Iterator[np.ndarray]:
    """Yield what is drawn after `contexts`, rows of ids of any lengths: int32 [batch, some].

    As few or as many tokens at a time as take about `pause` seconds, `options.length` in all, or
    as many as fit; whoever asks may stop asking. A sample depends on the seed and its own number,
    counted from `first_sample`, not on its batch (but for the rounding of parameters in bfloat16).

    Raises UserError for ids outside the vocabulary, and where a context and what is drawn do not
    fit into n_ctx.
    """
    contexts = [np.asarray(context, np.int32) for context in contexts]
    options.check(hparams)
    length = options.length or hparams.n_ctx + 1 - max(map(len, contexts))
    for context in contexts:
        check_context(context, length, hparams)
    seed = secrets.randbits(64) if options.seed is None else options.seed
    numbers = range(first_sample, first_sample + len(contexts))
    # 1 - [0, 1) is (0, 1], as draw() wants it.
    uniforms = 1 - np.stack(
        [np.random.default_rng([seed, number]).random(length, np.float32) for number in numbers]
    )
    filled = np.array([len(context) - 1 for context in contexts], np.int32)
    if len(set(filled)) == 1:  # of all rows, which is faster than of each
        filled = filled[0]
    filled = tf.constant(filled)
    token = tf.constant([context[-1] for context in contexts])
    start, count = 0, 1
    with runtime.waiting('Reading the prompt ...'):
        memory = read(params, hparams, [context[:-1] for context in contexts], length)
    while start < length:
        began = time.perf_counter()
        with nullcontext() if start else runtime.waiting('Compiling ...'):
            drawn = draw_chunk(
                params,
                hparams,
                memory,
                filled=filled + start,
                token=token,
                uniforms=tf.constant(padded(uniforms[:, start : start + count], CHUNK)),
                count=tf.constant(count),
                temperature=tf.constant(options.temperature or 1, tf.float32),
                top_p=tf.constant(options.top_p, tf.float32),
                top_k=options.top_k,
                greedy=options.greedy,
                nucleus=options.top_p < 1,
            ).numpy()[:, :count]
        in_time = int(count * pause / (time.perf_counter() - began))
        yield drawn
        token = tf.constant(drawn[:, -1])
        start += count
        count = min(max(1, in_time), CHUNK, length - start)


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

    Returns int32 [batch, n + length]: all that `generate` yields, behind the context.
    """
    if (start_token is None) == (context is None):
        raise UserError('give sample_sequence either a start_token or a context')
    context = np.atleast_1d(np.asarray(start_token if context is None else context, np.int32))
    if context.ndim == 1:
        context = np.tile(context, [batch_size or 1, 1])
    options = SamplingOptions(length, temperature, top_k, top_p, seed)
    pieces = generate(params, hparams, context, options, first_sample=first_sample, pause=0.5)
    return tf.concat([context, gathered(pieces, length)], axis=1)


def samples(
    params, hparams: HParams, context, options: SamplingOptions, *, nsamples: int, batch_size: int
) -> Iterator[np.ndarray]:
    """Yield what is drawn after `context` [n] for `nsamples` samples, int32 [length] one by one.

    They are made `batch_size` at a time, without end where nsamples is 0.
    """
    batch_size = min(batch_size, nsamples or batch_size)
    for first in (
        itertools.count(0, batch_size) if nsamples == 0 else range(0, nsamples, batch_size)
    ):
        contexts = [context] * batch_size
        pieces = generate(params, hparams, contexts, options, first_sample=first, pause=0.5)
        batch = gathered(pieces, options.length)
        yield from batch[: nsamples - first if nsamples else batch_size]


def gathered(pieces: Iterator[np.ndarray], length: int) -> np.ndarray:
    """What `generate` yields, [batch, length], with a bar for those who wait."""
    with tqdm(total=length, unit=' tokens', leave=False, disable=None, delay=1) as bar:
        drawn = []
        for piece in pieces:
            drawn.append(piece)
            bar.update(piece.shape[1])
    return np.concatenate(drawn, axis=1)


def padded(rows: Sequence[Sequence[int]], n: int = 0) -> np.ndarray:
    """Rows one below the other, with zeros behind them up to n columns or the longest."""
    n = max(n, *map(len, rows))
    return np.stack([np.pad(row, (0, n - len(row))) for row in rows])


def read(params, hparams: HParams, contexts: list[np.ndarray], length: int) -> list:
    """The cache of contexts, of any lengths, with room for `length` tokens more and one chunk."""
    n = max(map(len, contexts))
    if n:
        presents = forward(
            params, hparams, tf.constant(padded(contexts, cache.prompt_size(n, hparams)))
        )
    else:
        heads, features = hparams.n_head, hparams.n_embd // hparams.n_head
        none = tf.zeros([len(contexts), heads, 0, features])
        presents = [(none, none)] * hparams.n_layer
    size = max(cache.cache_size(n + length, hparams), presents[0][0].shape[2])
    return cache.begin(presents, size + CHUNK)


@tf.function(autograph=False)
def forward(params, hparams, X):
    """Each block's keys and values of X [batch, n]. Not compiled: a few prompts are sooner read."""
    return hidden(params, hparams, X, block=one_block)[1]


@tf.function(jit_compile=True, autograph=False)
def draw_chunk(
    params,
    hparams,
    memory,
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
    """Feed `token` [batch] after the first `filled` positions of the cache `memory`, and draw
    `count` tokens, one a column of `uniforms`. filled: of all rows, or of each [batch].

    Returns the tokens [batch, CHUNK], the first `count` filled; the cache has what was fed.
    """
    pasts = cache.pasts(memory, filled)

    def body(i, token, tokens, recent):
        both = [[past, Past(k, v, i)] for past, (k, v) in zip(pasts, recent, strict=True)]
        h, presents = hidden(params, hparams, token[:, None], both, block=one_block)
        here = (tf.range(CHUNK) == i)[:, None]
        recent = [
            [tf.where(here, new, old) for new, old in zip(present, earlier, strict=True)]
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
    cache.extend(memory, recent, filled)
    return tokens
