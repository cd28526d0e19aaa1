"""What is done to logits before a token is chosen, besides temperature, top-k and top-p.

In the order of Hugging Face's Transformers. Settings are those of `settings_of`: only what an
option asks for is in them, and costs.
"""

import numpy as np
import tensorflow as tf

from .options import SamplingOptions, default

NEVER = -1e10  # the logit of a token that is not to be chosen


def settings_of(options: SamplingOptions, n_vocab: int) -> dict:
    """What `options` ask of logits.

    Numbers that shape what is computed are plain; the others are tensors, so that another value
    compiles nothing anew.
    """
    numbers = {
        name: tf.constant(getattr(options, name), tf.float32)
        for name in ('repetition_penalty', 'frequency_penalty', 'presence_penalty')
        if getattr(options, name) != default(name)
    }
    if options.logit_bias:
        bias = np.zeros(n_vocab, np.float32)
        bias[list(options.logit_bias)] = list(options.logit_bias.values())
        numbers['logit_bias'] = tf.constant(bias)
    if options.no_repeat_ngram_size:
        numbers['no_repeat_ngram_size'] = options.no_repeat_ngram_size
    if options.greedy or options.num_beams > 1:
        return numbers
    numbers['temperature'] = tf.constant(options.temperature, tf.float32)
    if options.top_k:
        numbers['top_k'] = options.top_k
    return numbers | {
        name: tf.constant(getattr(options, name), tf.float32)
        for name in ('top_p', 'min_p', 'typical_p')
        if getattr(options, name) != default(name)
    }


def penalised(logits, written, settings: dict):
    """Logits [batch, n_vocab] with biases, and penalties for what is `written`, a steps.Written."""
    ids, start, n = written.ids, written.start[:, None], written.n
    if 'logit_bias' in settings:
        logits += settings['logit_bias']
    place = tf.range(ids.shape[1])
    there = place < n[:, None]
    if 'repetition_penalty' in settings:
        penalty = settings['repetition_penalty']
        lower = tf.where(logits < 0, logits * penalty, logits / penalty)
        logits = tf.where(counted(ids, there, logits.shape) > 0, lower, logits)
    if {'frequency_penalty', 'presence_penalty'} & set(settings):
        counts = counted(ids, there & (place >= start), logits.shape)
        logits -= counts * settings.get('frequency_penalty', 0.0)
        logits -= tf.cast(counts > 0, tf.float32) * settings.get('presence_penalty', 0.0)
    if 'no_repeat_ngram_size' in settings:
        ends = ending_ngrams(ids, n, settings['no_repeat_ngram_size'])
        logits = tf.where(counted(ids, ends, logits.shape) > 0, NEVER, logits)
    return logits


def counted(ids, where, shape):
    """How often each token is among ids [batch, size] `where` true: float32 [batch, n_vocab]."""
    batch, n_vocab = shape
    rows = tf.range(batch)[:, None] * n_vocab
    counts = tf.math.unsorted_segment_sum(
        tf.cast(where, tf.float32), tf.where(where, rows + ids, -1), batch * n_vocab
    )
    return tf.reshape(counts, [batch, n_vocab])


def ending_ngrams(ids, n, size: int):
    """Where in ids [batch, length] a token follows what the last size - 1 of the first n are."""
    length = ids.shape[1]
    place = tf.range(length)
    found = (place >= size - 1) & (place < n[:, None])
    for back in range(1, size):
        last = tf.gather(ids, tf.maximum(n - back, 0), batch_dims=1)
        found &= tf.roll(ids, back, axis=1) == last[:, None]
    return found


def min_p_logits(logits, p: float):
    """Keep the tokens at least p times as probable as the most probable one of their row."""
    most = tf.reduce_max(logits, axis=-1, keepdims=True)
    return tf.where(logits < most + tf.math.log(p), NEVER, logits)


def typical_p_logits(logits, p: float):
    """Keep the tokens whose surprise is nearest to the row's mean surprise, p of all in sum.

    The token that crosses p stays. https://arxiv.org/abs/2202.00666
    """
    logs = tf.nn.log_softmax(logits)
    probs = tf.exp(logs)
    entropy = -tf.reduce_sum(tf.where(probs > 0, probs * logs, 0.0), axis=-1, keepdims=True)
    distance = tf.abs(-logs - entropy)
    limit = tf.minimum(p, mass(probs, True))
    farthest = least_float(lambda x: mass(probs, distance <= x) >= limit, distance)
    return tf.where(distance > farthest, NEVER, logits)


def mass(probs, where):
    """The sum of a row's probabilities [batch, n_vocab] `where` true: [batch, 1]."""
    return tf.reduce_sum(tf.where(where, probs, 0.0), axis=-1, keepdims=True)


def least_float(fits, values):
    """For each row the least number x [batch, 1] that fits(x), where greater ones fit, too.

    values: [batch, n_vocab], none negative, the greatest of which or one above fits. By bisection,
    as a sort takes ten times as long: a float that is not negative is in the order of its bits.
    """

    def halve(low, high):
        middle = low + (high - low) // 2  # their sum could be above an int32
        enough = fits(tf.bitcast(middle, tf.float32))
        return tf.where(enough, low, middle), tf.where(enough, middle, high)

    high = tf.bitcast(tf.reduce_max(values, axis=-1, keepdims=True), tf.int32) + 1
    low = tf.fill(tf.shape(high), -1)
    _, high = tf.while_loop(lambda low, high: tf.reduce_any(low + 1 < high), halve, [low, high])
    return tf.bitcast(high, tf.float32)
