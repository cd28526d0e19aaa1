"""What the server has compiled: a prompt read piece by piece, and a token or two more of each row.

The memory, keys and values of every row, lies in segments, so that short texts read only the first:
for each block a list of [k, v], variables [rows, heads, size, features]. A banded block has one
alone, a ring of a window and a piece: see cache.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from ..cache import Past
from ..hparams import HParams
from ..model import hidden, predict
from ..processors import NEVER, min_p_logits, penalised
from ..sample import draw, top_p_logits
from ..steps import Written, append, fed, one_block

PIECES = (32, 64, 128)  # tokens of a prompt that are read at once
SHORT = 256  # positions of the first segment
SORTED = 64  # the most that is asked for as top_k, nearly always
BEST = 5  # most probable tokens that are told
STEPS = 2  # most tokens of a row between two moments when others may join, or it may leave


class Rows(NamedTuple):
    """What each row is, NumPy arrays [rows, ...] or tensors of them.

    ids [rows, size]: the first n are its text, drawn from `start` on, of which `filled` are in the
    memory; uniform [rows, STEPS]: the random numbers by which its next tokens are drawn.
    """

    ids: np.ndarray
    start: np.ndarray
    n: np.ndarray
    filled: np.ndarray
    uniform: np.ndarray


class Settings(NamedTuple):
    """What each row's options ask of its logits, [rows, 1], but logit_bias [rows, n_vocab].

    end: the token that ends a text, which no row has before its min_tokens. What `any` names is
    computed: whether some row asks for [penalties, top_k, a greater one, top_p, min_p, best].
    """

    temperature: np.ndarray
    greedy: np.ndarray
    top_k: np.ndarray
    top_p: np.ndarray
    min_p: np.ndarray
    repetition_penalty: np.ndarray
    frequency_penalty: np.ndarray
    presence_penalty: np.ndarray
    min_tokens: np.ndarray
    logit_bias: np.ndarray
    end: np.ndarray
    any: np.ndarray


def sizes(hparams: HParams) -> list[int]:
    """How many positions are looked at: n_ctx 1024 -> [256, 512, 1024]."""
    shorter = [SHORT]
    while shorter[-1] < hparams.n_ctx:
        shorter.append(2 * shorter[-1])
    return [*shorter[:-1], hparams.n_ctx]


def room_of(hparams: HParams) -> list[list[int]]:
    """For each block the positions of its segments."""
    segments = np.diff([0, *sizes(hparams)]).tolist()
    windows = [hparams.window_of(layer) for layer in range(hparams.n_layer)]
    return [[min(window + PIECES[-1], hparams.n_ctx)] if window else segments for window in windows]


def memory_of(hparams: HParams, rows: int) -> list:
    """Empty, for `rows` texts of n_ctx tokens."""
    heads, features = hparams.n_head, hparams.n_embd // hparams.n_head

    def empty(size):
        return tf.Variable(tf.zeros([rows, heads, size, features]))

    return [[[empty(n), empty(n)] for n in segments] for segments in room_of(hparams)]


def bytes_of(hparams: HParams, rows: int) -> int:
    """What the memory takes: 603,979,776 for eight rows of 124M."""
    return 2 * 4 * rows * hparams.n_embd * sum(map(sum, room_of(hparams)))


def up_to(memory, size: int) -> list:
    """The first segments of each block, with room for `size` positions."""
    return [[[k, v] for start, k, v in segments_of(block) if start < size] for block in memory]


def segments_of(block) -> list[tuple]:
    """(first position, k, v) of each segment."""
    starts = np.cumsum([0, *(k.shape[2] for k, _ in block)]).tolist()
    return [(start, k, v) for start, (k, v) in zip(starts, block, strict=False)]


def pasts_of(memory, hparams: HParams, filled, take: Callable) -> list[list[Past]]:
    """What each block looks at: of each segment what take(variable) gives of its k and its v."""

    def past(layer, start, k, v):
        here = filled
        if hparams.window_of(layer) is None:
            here = tf.clip_by_value(filled - start, 0, k.shape[2])
        return Past(take(k), take(v), here)

    return [
        [past(layer, *segment) for segment in segments_of(block)]
        for layer, block in enumerate(memory)
    ]


class Programs(NamedTuple):
    """read, feed and write, below, of one model and its memory: `programs` makes them."""

    read: Callable
    feed: Callable
    write: Callable


def programs(params, hparams: HParams, memory) -> Programs:
    """Of reading each block is compiled, as in steps.forward, and of writing nothing: XLA would
    copy all of the memory. What is the same in each call is no argument: 150 take as long as a
    tenth of a token.
    """
    return Programs(
        tf.function(lambda *given: read(params, hparams, memory, *given), autograph=False),
        tf.function(
            lambda *given: feed(params, hparams, memory, *given), autograph=False, jit_compile=True
        ),
        tf.function(lambda *given: write(hparams, memory, *given), autograph=False),
    )


def read(params, hparams, memory, row, filled, X):
    """Read tokens X [1, n] of one row behind its first `filled`; what `hidden` gives for them."""
    pasts = pasts_of(memory, hparams, filled, lambda x: tf.gather(x, row[None]))
    h, presents = hidden(params, hparams, X, pasts, block=one_block)
    write(hparams, memory, presents, filled[None], X.shape[1], row)
    return h[0]


@tf.function(autograph=False)
def move(memory, source, target):
    """Have row `target` of the memory hold what `source` does."""
    for variable in tf.nest.flatten(memory):
        row = tf.gather(variable, source[None])
        variable.scatter_update(tf.IndexedSlices(row, target[None]))


@tf.function(jit_compile=True, autograph=False)
def score(params, h, targets):
    """The log-probability of each of targets [n] after h [n, n_embd], and the most probable
    tokens there, with theirs [n, BEST]."""
    logits = predict(params, h)
    total = tf.reduce_logsumexp(logits, axis=-1)
    values, tokens = tf.math.top_k(logits, BEST)
    return tf.gather(logits, targets, batch_dims=1) - total, tokens, values - total[:, None]


def feed(params, hparams, memory, rows: Rows, settings: Settings, count):
    """`count` tokens more of each of the memory's first rows, up to STEPS: (tokens [rows, STEPS],
    their log-probabilities, the most probable there [rows, STEPS, BEST], theirs), before all
    penalties and truncations; and what `write` takes, the presents of what was fed.
    """
    some, size = rows.ids.shape
    pasts = pasts_of(memory, hparams, rows.filled, lambda x: x[:some])
    none = tf.zeros([some, STEPS, BEST])
    best = tf.cast(none, tf.int32), none
    written = Written(rows.ids, rows.start, rows.n, none[:, :, 0], best)

    def choose_next(logits, i, written, settings, uniform):
        def top_k(logits, k):
            return tf.cond(
                settings.any[5],
                lambda: tuple(tf.math.top_k(logits, k)),
                lambda: (none[:, 0], best[0][:, 0]),
            )

        token = choose(logits, written, settings, uniform[:, i])
        return append(written, i, token, logits, top_k), uniform, None

    given = count, written, settings, rows.uniform
    written, _, recent, _ = fed(params, hparams, pasts, *given, choose=choose_next, chunk=STEPS)
    places = tf.minimum(rows.n[:, None] + tf.range(STEPS), size - 1)
    tokens = tf.gather(written.ids, places, batch_dims=1)
    return (tokens, written.log_probs, *written.best), recent


def write(hparams, memory, presents, filled, count, first=0):
    """Keep the presents of `count` tokens of each row, from the `first` on, behind those filled
    [rows]."""
    indices = {}  # the same in many blocks
    steps = tf.range(presents[0][0].shape[2])
    for layer, (block, present) in enumerate(zip(memory, presents, strict=True)):
        ring = hparams.window_of(layer) is not None
        for start, *variables in segments_of(block):
            heads, size = variables[0].shape[1:3]
            if (ring, start) not in indices:
                place = filled[:, None] + steps
                place = place % size if ring else place - start
                place = tf.where(steps < count, place, -1)
                indices[ring, start] = indices_of(place, first, heads, size)
            some, index = indices[ring, start]
            for variable, new in zip(variables, present, strict=True):
                new = tf.gather_nd(tf.transpose(new, [0, 2, 1, 3]), some)
                variable.scatter_nd_update(index, new)


def indices_of(place, first, heads: int, size: int):
    """Which of place [rows, steps] are in a segment, as (row, step), and (row, head, place) there
    [..., heads, 3], the rows counted from the `first` on."""
    some = tf.where((place >= 0) & (place < size))
    row = first + tf.cast(some[:, 0], tf.int32)
    row, head = tf.meshgrid(row, tf.range(heads), indexing='ij')
    place = tf.repeat(tf.gather_nd(place, some)[:, None], heads, 1)
    return some, tf.stack([row, head, place], -1)


def choose(logits, written: Written, settings: Settings, uniform):
    """Each row's token, by its own options: what sample.choose gives with the same ones."""
    wanted = tf.unstack(settings.any)
    early = written.n[:, None] - written.start[:, None] < settings.min_tokens
    logits = tf.where(early & (tf.range(logits.shape[1]) == settings.end), NEVER, logits)

    def where(number, change, logits):
        return tf.cond(wanted[number], lambda: change(logits), lambda: logits)

    logits = where(0, lambda x: penalised(x, written, settings._asdict()), logits)
    best = tf.argmax(logits, axis=-1, output_type=tf.int32)
    kept = logits / settings.temperature
    kept = where(1, lambda x: top_k_logits(x, settings.top_k, wanted[2]), kept)
    p = settings.top_p
    kept = where(3, lambda x: tf.where(p < 1, top_p_logits(x, p), x), kept)
    kept = where(4, lambda x: min_p_logits(x, settings.min_p), kept)
    return tf.where(settings.greedy[:, 0], best, draw(kept, uniform))


def top_k_logits(logits, k, many):
    """sample.top_k_logits with each row's own k [rows, 1]; many: whether one is above SORTED."""

    def least(values):
        place = tf.clip_by_value(k - 1, 0, values.shape[1] - 1)
        return tf.gather(values, place, batch_dims=1)

    limit = tf.cond(
        many,
        lambda: least(tf.sort(logits, direction='DESCENDING')),
        lambda: least(tf.math.top_k(logits, min(SORTED, logits.shape[1])).values),
    )
    return tf.where((k > 0) & (logits < limit), NEVER, logits)
