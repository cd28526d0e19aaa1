"""Sampling: truncate the logits, draw a token, feed it back."""

import secrets
import time
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from . import runtime
from .errors import UserError
from .hparams import HParams
from .options import MOST_ROWS, SamplingOptions, check_context, check_range
from .processors import (
    NEVER,
    least_float,
    mass,
    min_p_logits,
    penalised,
    settings_of,
    typical_p_logits,
)
from .steps import CHUNK, Written, append, feed, padded, read, read_anew, write

GROUP = 256  # tokens whose probabilities are summed first when one is drawn


class Drawn(NamedTuple):
    """Some tokens more of each row: int32 [batch, some], and float32 log_probs of the same shape,
    of the distribution before all penalties and truncations. best: with options.logprobs k, the k
    most probable tokens of each place [batch, some, k], and their log-probabilities.
    """

    tokens: np.ndarray
    log_probs: np.ndarray
    best: tuple[np.ndarray, np.ndarray] | tuple[()] = ()


def top_k_logits(logits, k: int):
    """Keep each row's k largest logits [batch, n_vocab], the rest become -1e10; 0 keeps all."""
    if k == 0:
        return logits
    values, _ = tf.math.top_k(logits, k=min(k, logits.shape[-1]))
    # Not values[:, -1:], for which XLA would sort the whole vocabulary.
    return tf.where(logits < tf.reduce_min(values, axis=-1, keepdims=True), NEVER, logits)


def top_p_logits(logits, p: float):
    """Nucleus sampling: keep each row's most probable tokens [batch, n_vocab], p of all in sum.

    As in the original, the token that crosses p is dropped, but never the most probable one.
    """
    probs = tf.nn.softmax(logits)
    limit = p * mass(probs, True)
    least = least_float(lambda x: mass(probs, probs >= x) <= limit, probs)
    most = tf.reduce_max(probs, axis=-1, keepdims=True)
    return tf.where(probs < tf.minimum(least, most), NEVER, logits)


def truncated(logits, settings: dict):
    """Logits [batch, n_vocab] over the temperature; those not to be drawn become -1e10."""
    logits = top_k_logits(logits / settings['temperature'], settings.get('top_k', 0))
    for name, keep in TRUNCATIONS.items():
        if name in settings:
            logits = keep(logits, settings[name])
    return logits


TRUNCATIONS = {'top_p': top_p_logits, 'min_p': min_p_logits, 'typical_p': typical_p_logits}


def choose(logits, i, written: Written, settings: dict, _):
    """Draw the chunk's i-th token from logits [batch, n_vocab], or take the most probable one."""
    scores = penalised(logits, written, settings)
    if 'temperature' in settings:
        token = draw(truncated(scores, settings), settings['uniforms'][:, i])
    else:
        token = tf.argmax(scores, axis=-1, output_type=tf.int32)
    return append(written, i, token, logits), (), ()


def draw(logits, uniforms):
    """The token where each row's cumulative probability reaches its uniform number in (0, 1].

    First the group of tokens is found where it does, then the token in it.
    """
    n = logits.shape[-1]
    probs = tf.pad(tf.nn.softmax(logits), [[0, 0], [0, -n % GROUP]])
    probs = tf.reshape(probs, [-1, -(-n // GROUP), GROUP])
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
    numbers: Sequence[int] | None = None,
    pause: float = 0.15,
) -> Iterator[Drawn]:
    """Yield what is drawn after `contexts`, rows of ids of any lengths.

    As few or as many tokens at a time as take about `pause` seconds, `options.length` in all, or
    as many as fit; whoever asks may stop asking. A sample depends on the seed and its own number,
    not on its batch (but for the rounding of parameters in bfloat16). numbers: None for 0, 1, ...

    Where a row fills n_ctx, its last `options.keep` tokens are read again, from position 0, and it
    goes on. Stops are of text: completion.stream heeds them.

    Raises UserError for ids outside the vocabulary, and a context that does not fit into n_ctx.
    """
    options.check(hparams)
    if options.num_beams > 1 or not len(contexts):
        raise UserError('generate() draws for a context or more; beam.search() is for beams')
    contexts = [check_context(context, hparams) for context in contexts]
    n_ctx, batch = hparams.n_ctx, len(contexts)
    length = options.length or n_ctx + 1 - max(map(len, contexts))
    settings = settings_of(options, hparams.n_vocab)
    uniforms = draw_uniforms(options.seed, range(batch) if numbers is None else numbers, length)
    written = write(contexts, length, options.logprobs)
    filled = np.array([len(context) - 1 for context in contexts], np.int32)
    start, count = 0, 1
    with runtime.waiting('Reading the prompt ...'):
        memory = read(params, hparams, [context[:-1] for context in contexts], length)
    while start < length:
        began = time.perf_counter()
        if full := np.flatnonzero(filled == n_ctx).tolist():
            windows = [window(written, i, options, n_ctx) for i in full]
            read_anew(params, hparams, memory, full, [ids[:-1] for ids in windows])
            filled[full] = [len(ids) - 1 for ids in windows]
        count = min(count, length - start, n_ctx - max(filled))
        if 'temperature' in settings:
            settings['uniforms'] = tf.constant(padded(uniforms[:, start : start + count], CHUNK))
        same = len(set(filled)) == 1  # of all rows, which is faster than of each
        with nullcontext() if start else runtime.waiting('Compiling ...'):
            written, _ = feed(
                params,
                hparams,
                memory,
                tf.constant(filled[0] if same else filled),
                tf.constant(count, tf.int32),
                written,
                settings,
                choose=choose,
            )
            drawn = taken(written, count)
        in_time = int(count * pause / (time.perf_counter() - began))
        yield drawn
        filled, start = filled + count, start + count
        count = min(max(1, in_time), CHUNK)


def draw_uniforms(seed: int | None, numbers: Sequence[int], length: int) -> np.ndarray:
    """Numbers from (0, 1], as draw() wants them, of samples by their numbers: [batch, length]."""
    seed = secrets.randbits(64) if seed is None else seed
    return 1 - np.stack(
        [np.random.default_rng([seed, number]).random(length, np.float32) for number in numbers]
    )


def taken(written: Written, count: int) -> Drawn:
    """The last `count` tokens of each row, all of one chunk."""
    ids, n = written.ids.numpy(), written.n.numpy()
    tokens = np.stack([row[end - count : end] for row, end in zip(ids, n, strict=True)])
    log_probs, best = tf.nest.map_structure(
        lambda x: x.numpy()[:, :count], (written.log_probs, written.best)
    )
    return Drawn(tokens, log_probs, best)


def window(written: Written, row: int, options: SamplingOptions, n_ctx: int) -> np.ndarray:
    """What is read again once a row has filled the context: its last tokens, behind the prompt's
    first ones where options.keep_prompt wants them, as far as half of what is free has room.
    """
    ids, keep = written.ids[row, : written.n[row]].numpy(), options.keep or n_ctx // 2
    first = min(int(written.start[row]), (n_ctx - keep) // 2) if options.keep_prompt else 0
    return np.concatenate([ids[:first], ids[-keep:]])


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
    rows = [start_token] if context is None else context
    if np.ndim(next(iter(rows), 0) if np.iterable(rows) else 0) == 0:
        check_range('batch_size', 1 if batch_size is None else batch_size, 1, MOST_ROWS)
        rows = [rows] * (batch_size or 1)
    rows = [check_context(row, hparams) for row in rows]
    if len(set(map(len, rows))) > 1:
        raise UserError('the rows of a context are of one length here; generate() takes any')
    context = np.stack(rows)
    options = SamplingOptions(length, temperature, top_k, top_p, seed)
    numbers = range(first_sample, first_sample + len(context))
    pieces = generate(params, hparams, context, options, numbers=numbers, pause=0.5)
    with tqdm(total=options.length, unit=' tokens', leave=False, disable=None, delay=1) as bar:
        drawn = []
        for piece in pieces:
            drawn.append(piece.tokens)
            bar.update(piece.tokens.shape[1])
    return tf.concat([context, *drawn], axis=1)
