"""The loop that feeds tokens to the model: compiled, many at a time, over a cache kept in place."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from . import cache
from .cache import Past
from .hparams import HParams
from .model import block, hidden, predict

CHUNK = 16  # most tokens fed between two returns to Python, where Ctrl-C is heard

# Traced once, not n_layer times, and compiled.
one_block = tf.function(block, autograph=False, jit_compile=True)


class Written(NamedTuple):
    """What each row says so far: the first n [batch] of ids [batch, size], drawn from `start` on.

    best: the k most probable tokens of each of the chunk's steps [batch, CHUNK, k], with their
    log-probabilities; log_probs [batch, CHUNK]: those of what was chosen, before all penalties and
    truncations.
    """

    ids: tf.Tensor
    start: tf.Tensor
    n: tf.Tensor
    log_probs: tf.Tensor
    best: tuple


def write(contexts: Sequence[np.ndarray], length: int, best: int) -> Written:
    """Contexts, of any lengths, with room for `length` tokens more."""
    batch, n = len(contexts), np.array([len(context) for context in contexts], np.int32)
    size = 1 << max(6, int(max(n) + length - 1).bit_length())
    empty = tf.zeros([batch, CHUNK, best])
    return Written(
        ids=tf.constant(padded(contexts, size)),
        start=tf.constant(n),
        n=tf.constant(n),
        log_probs=tf.zeros([batch, CHUNK]),
        best=(tf.cast(empty, tf.int32), empty) if best else (),
    )


def append(written: Written, i, token, logits, top_k: Callable = tf.math.top_k) -> Written:
    """With one token [batch] more, the chunk's i-th, which was chosen from logits.

    top_k(logits, k): what finds the most probable ones, where they are asked for.
    """
    ids, n = written.ids, written.n
    here = tf.range(written.log_probs.shape[1]) == i
    total = tf.reduce_logsumexp(logits, axis=-1)
    log_probs = tf.gather(logits, token, batch_dims=1) - total
    best = written.best
    if best:
        values, tokens = top_k(logits, best[0].shape[2])
        new = tokens, values - total[:, None]
        best = tuple(
            tf.where(here[:, None], fresh[:, None], old)
            for fresh, old in zip(new, best, strict=True)
        )
    return written._replace(
        ids=with_token(ids, n[:, None], token),
        n=n + 1,
        log_probs=tf.where(here, log_probs[:, None], written.log_probs),
        best=best,
    )


def with_token(ids, n, token):
    """ids [batch, size] and a token [batch] behind the first n, of all rows or each [batch, 1]."""
    return tf.where(tf.range(ids.shape[1]) == n, token[:, None], ids)


def padded(rows: Sequence[Sequence[int]], n: int = 0) -> np.ndarray:
    """Rows one below the other, with zeros behind them up to n columns or the longest."""
    n = max(n, *map(len, rows))
    return np.stack([np.pad(row, (0, n - len(row))) for row in rows])


def read(params, hparams: HParams, contexts: list[np.ndarray], length: int) -> list:
    """The cache of contexts, of any lengths, with room for `length` tokens more and one chunk."""
    filled = [len(context) for context in contexts]
    n = max(filled)
    if n:
        presents = forward(
            params, hparams, tf.constant(padded(contexts, cache.prompt_size(n, hparams)))
        )
    else:
        heads, features = hparams.n_head, hparams.n_embd // hparams.n_head
        none = tf.zeros([len(contexts), heads, 0, features])
        presents = [(none, none)] * hparams.n_layer
    size = max(cache.cache_size(n + length, hparams), presents[0][0].shape[2])
    return cache.begin(presents, filled, size, CHUNK, hparams)


def read_anew(params, hparams: HParams, memory, rows: Sequence[int], contexts) -> None:
    """Have the cache's `rows` hold `contexts`, of any lengths, in place of what was there."""
    filled = [len(context) for context in contexts]
    X = padded(contexts, cache.prompt_size(max(filled), hparams))
    cache.replace(memory, rows, forward(params, hparams, tf.constant(X)), filled)


@tf.function(autograph=False)
def forward(params, hparams, X):
    """Each block's keys and values of X [batch, n]. One block is compiled, not all as one: that
    takes as long as a few prompts.
    """
    return hidden(params, hparams, X, block=one_block)[1]


@tf.function(jit_compile=True, autograph=False)
def feed(
    params,
    hparams,
    memory,
    filled,
    count,
    written,
    settings,
    state=(),
    *,
    choose: Callable,
    moving: bool = False,
):
    """Feed each row's last token after the first `filled` positions of the cache `memory`, and do
    so `count` times with what choose(logits, i, written, settings, state) gives.

    That is (written, state, rows): moving, with the numbers of the rows that go on [batch], one
    perhaps in several places. filled: of all rows, or of each [batch]. Returns the last (written,
    state); the cache has what was fed.
    """
    pasts = [[past] for past in cache.pasts(memory, filled)]
    given = count, written, settings, state
    written, state, recent, origin = fed(
        params, hparams, pasts, *given, choose=choose, moving=moving
    )
    cache.extend(memory, recent, filled, origin if moving else None)
    return written, state


def fed(
    params,
    hparams,
    pasts,
    count,
    written,
    settings,
    state,
    *,
    choose: Callable,
    moving: bool = False,
    chunk: int = CHUNK,
):
    """What `feed` does, up to `chunk` times behind each block's pasts, and without writing.

    Returns (written, state), the presents of what was fed, and the row of the pasts from which
    each row goes on.
    """
    batch, heads, _, features = pasts[0][0].k.shape

    def body(i, written, state, recent, origin):
        token = tf.gather(written.ids, written.n - 1, batch_dims=1)
        both = [
            [*(past._replace(rows=origin if moving else None) for past in earlier), Past(k, v, i)]
            for earlier, (k, v) in zip(pasts, recent, strict=True)
        ]
        h, presents = hidden(params, hparams, token[:, None], both, block=one_block)
        here = (tf.range(chunk) == i)[:, None]
        recent = [
            [tf.where(here, new, old) for new, old in zip(present, earlier, strict=True)]
            for present, earlier in zip(presents, recent, strict=True)
        ]
        written, state, rows = choose(predict(params, h)[:, -1], i, written, settings, state)
        if moving:
            recent, origin = tf.nest.map_structure(lambda x: tf.gather(x, rows), (recent, origin))
        return i + 1, written, state, recent, origin

    recent = [[tf.zeros([batch, heads, chunk, features])] * 2] * len(pasts)
    origin = tf.range(batch)
    started = [tf.constant(0), written, state, recent, origin]
    return tf.while_loop(lambda i, *_: i < count, body, started)[1:]
