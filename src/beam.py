"""Beam search: the most probable text found by going on with several at a time.

As in Hugging Face's Transformers: a finished text's score is the sum of its log-probabilities over
its length ** length_penalty; the prompt does not count.
"""

import time
from collections.abc import Sequence
from contextlib import nullcontext
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from . import runtime
from .errors import UserError
from .hparams import HParams
from .options import SamplingOptions, check_context
from .processors import penalised, settings_of
from .steps import CHUNK, feed, read, with_token, write

UNLIKELY = -1e9  # the score of a beam that is none


class Hypothesis(NamedTuple):
    """A finished text: its tokens, after the context, with their log-probabilities before all
    penalties; its score; whether it ends with the token that was to end it.
    """

    tokens: np.ndarray
    log_probs: np.ndarray
    score: float
    ended: bool


class Beams(NamedTuple):
    """What a search knows, beside the texts it goes on with: those that are finished, best first.

    scores [beams]: of the open ones, the sums of their log-probabilities, with all penalties.
    log_probs [beams, size]: those of each of their tokens, without. is_open: whether going on may
    find better ones than those that are done.
    """

    scores: tf.Tensor
    log_probs: tf.Tensor
    done: 'Done'
    is_open: tf.Tensor


class Done(NamedTuple):
    """Finished texts: ids and log_probs [beams, size], n [beams] of which count; their scores
    [beams]; whether there is one in the place at all."""

    scores: tf.Tensor
    ids: tf.Tensor
    log_probs: tf.Tensor
    n: tf.Tensor
    there: tf.Tensor


def search(
    params, hparams: HParams, context: Sequence[int], options: SamplingOptions, end: int | None
) -> list[Hypothesis]:
    """The options.num_beams best continuations of context [n] that are found, the best first.

    Of options.length tokens, or as many as fit, or fewer that the token `end`, where given, ends.
    Raises UserError for what does not fit into n_ctx.
    """
    options.check(hparams)
    context, beams = check_context(context, hparams), options.num_beams
    length = length_after(context, options, hparams)
    settings = settings_of(options, hparams.n_vocab) | {
        'length': tf.constant(length),
        'length_penalty': tf.constant(options.length_penalty, tf.float32),
        'at_first': tf.constant(options.early_stopping is True),
        'never': tf.constant(options.early_stopping == 'never'),
        'end': tf.constant(-1 if end is None else end),
    }
    written = write([context] * beams, length, 0)
    none = tf.fill([beams], UNLIKELY)
    first = tf.one_hot(0, beams, on_value=0.0, off_value=UNLIKELY)  # else all would find the same
    nothing = tf.zeros(written.ids.shape)
    done = Done(none, written.ids, nothing, written.n, tf.fill([beams], False))
    state = Beams(first, nothing, done, tf.constant(True))
    with runtime.waiting('Reading the prompt ...'):
        memory = read(params, hparams, [context[:-1]] * beams, length)
    start, count = 0, 1
    with tqdm(total=length, unit=' tokens', leave=False, disable=None, delay=1) as bar:
        while start < length and state.is_open:
            began = time.perf_counter()
            with nullcontext() if start else runtime.waiting('Compiling ...'):
                written, state = feed(
                    params,
                    hparams,
                    memory,
                    tf.constant(len(context) - 1 + start),
                    tf.constant(count),
                    written,
                    settings,
                    state,
                    choose=choose,
                    moving=True,
                )
                start = int(written.n[0]) - len(context)
            bar.update(start - bar.n)
            in_time = int(count * 0.5 / (time.perf_counter() - began))
            count = min(max(1, in_time), CHUNK, length - start)
    done = zip(*(x.numpy() for x in state.done), strict=True)
    start = len(context)
    return [
        Hypothesis(ids[start:n], log_probs[start:n], float(score), bool(ids[n - 1] == end))
        for score, ids, log_probs, n, there in done
        if there
    ]


def length_after(context, options: SamplingOptions, hparams: HParams) -> int:
    """options.length, or half of n_ctx, or the room that is left; UserError where it has none."""
    room = hparams.n_ctx + 1 - len(context)
    length = options.length or min(hparams.n_ctx // 2, room)
    if length > room:
        raise UserError(
            f'after {len(context)} tokens the context of {hparams.n_ctx} has no room for {length} '
            f'more, and beams do not go beyond it; set --length to {room} or less'
        )
    return length


def choose(logits, i, written, settings, state):
    """Go on with the texts that are the best of all with a token more; finish those that end."""
    beams, n_vocab = logits.shape
    logs = tf.nn.log_softmax(logits)
    total = penalised(logs, written, settings) + state.scores[:, None]
    # Twice as many as go on, as half of them may end.
    scores, place = tf.math.top_k(tf.reshape(total, [-1]), 2 * beams)
    rows, tokens = place // n_vocab, place % n_vocab
    n = written.n[0] + 1
    ids = with_token(tf.gather(written.ids, rows), n - 1, tokens)
    log_probs = tf.gather(tf.reshape(logs, [-1]), place)
    log_probs = with_token(tf.gather(state.log_probs, rows), n - 1, log_probs)
    generated = n - written.start[0]
    ends = (tokens == settings['end']) | (generated == settings['length'])

    norm = tf.cast(generated, tf.float32) ** settings['length_penalty']
    new = Done(scores / norm, ids, log_probs, tf.fill([2 * beams], n), ends)
    done = best_of(state.done, tf.nest.map_structure(lambda x: x[:beams], new))
    full = tf.reduce_all(state.done.there) & settings['at_first']
    done = tf.cond(state.is_open & ~full, lambda: done, lambda: state.done)

    scores, kept = tf.math.top_k(scores + tf.where(ends, UNLIKELY, 0.0), beams)
    rows, ids, log_probs = (tf.gather(x, kept) for x in (rows, ids, log_probs))
    is_open = state.is_open & may_improve(done, scores[0], generated, settings)
    written = written._replace(ids=ids, n=written.n + 1)
    return written, Beams(scores, log_probs, done, is_open), rows


def best_of(done: Done, new: Done) -> Done:
    """The best finished texts of both, as many as `done` has places; `new` may not have ended."""
    both = tf.nest.map_structure(lambda a, b: tf.concat([a, b], 0), done, new)
    scores = tf.where(both.there, both.scores, -np.inf)
    _, kept = tf.math.top_k(scores, done.n.shape[0])
    return tf.nest.map_structure(lambda x: tf.gather(x, kept), both)


def may_improve(done: Done, best, generated, settings):
    """Whether the best open score, of so many tokens generated, may yet enter the finished ones."""
    penalty = settings['length_penalty']
    longest = settings['never'] & (penalty > 0)  # then a long text may yet have the best score
    reached = tf.where(longest, settings['length'], generated)
    hoped = best / tf.cast(reached, tf.float32) ** penalty
    better = ~settings['at_first'] & (hoped > tf.reduce_min(done.scores))
    return better | ~tf.reduce_all(done.there)
