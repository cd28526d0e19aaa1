"""The loss, a slice of its logits at a time; and dropout."""

import tensorflow as tf

from ..fast import recomputed, wide_product
from ..hparams import HParams
from ..model import as_it_is, block, hidden

SLICE, SMALL_SLICE = 512, 128  # positions whose logits exist at once; to save memory


def language_loss(
    params,
    hparams: HParams,
    inputs,
    targets,
    weights=None,
    *,
    dtype=tf.float32,
    recompute: bool = False,
    dropout=lambda place: as_it_is,
    learn: bool = True,
):
    """Mean cross-entropy, in nats, of each token of targets [batch, n] but the first.

    inputs: the same tokens as `targets`, except for noise. weights: how often each of them
    counts [batch, n], None for once. dtype: what blocks and logits compute in; recompute: keep
    nothing inside a block for its gradients; learn: whether for gradients.
    """
    h = states(params, hparams, inputs, dtype=dtype, recompute=recompute, dropout=dropout)
    h = tf.reshape(tf.cast(h[:, :-1], dtype), [-1, hparams.n_embd])
    size = SMALL_SLICE if recompute else SLICE
    mean = cross_entropy if learn else plain_cross_entropy
    labels = tf.reshape(targets[:, 1:], [-1])
    weights = None if weights is None else tf.reshape(weights[:, 1:], [-1])
    return mean(h, params['wte'], labels, size=size, weights=weights)


def states(params, hparams: HParams, inputs, *, dtype, recompute: bool, dropout):
    """What `hidden` gives, [batch, n, n_embd], computed as language_loss says."""
    step = block if dtype == tf.float32 else in_type(dtype, block)
    step = saving_memory(step) if recompute else step
    h, _ = hidden(params, hparams, inputs, block=step, dropout=dropout)
    return h


def in_type(dtype, block):
    """`block` with its parameters cast to `dtype`; the sum over the blocks stays as it is."""

    def typed(x, scope, **options):
        with tf.control_dependencies([x]):  # not all blocks' at once
            scope = tf.nest.map_structure(lambda value: tf.cast(value, dtype), scope)
        return block(x, scope, **options)

    return typed


def saving_memory(block):
    """`block` computed anew for its gradients, instead of keeping what is in it; no present."""

    def saving(x, scope, **options):
        return recomputed(lambda x: block(x, scope, **options)[0])(x), None

    return saving


def cross_entropy(h, wte, labels, *, size: int, weights=None):
    """The mean over positions, where h [positions, n_embd] @ wte are the logits.

    weights: how often each position [positions] counts, None for once; one whose label is -1
    never does.

    The logits of all positions would be the largest tensor by far. So those of `size` positions
    live at a time, and become their share of the gradients at once: one turn of a loop after
    another, also where XLA compiles it, which knows no other order. They, and the gradients, are
    summed up in float32, whatever the type of h.
    """
    count = h.shape[0]

    @tf.custom_gradient
    def mean(h, wte):
        low_wte = tf.cast(wte, h.dtype)
        rows, answers = slices(h, labels, size)
        times = None if weights is None else slices(h, weights, size)[1]
        turns = rows.shape[0]

        def turn(i, loss, d_h, d_wte):
            logits = wide_product(rows[i], low_wte, transpose_b=True)
            counts = None if times is None else times[i]
            part, d_logits = slice_loss_and_gradient(logits, answers[i], h.dtype, counts)
            d_h = d_h.write(i, wide_product(d_logits, low_wte))
            d_wte += wide_product(tf.transpose(d_logits), rows[i])
            return [i + 1, loss + part, d_h, d_wte]

        d_h = tf.TensorArray(tf.float32, turns, element_shape=rows.shape[1:])
        _, loss, d_h, d_wte = tf.while_loop(
            lambda i, *_: i < turns,
            turn,
            [tf.constant(0), tf.constant(0.0), d_h, tf.zeros(wte.shape)],
            parallel_iterations=1,
            maximum_iterations=turns,
        )

        def gradient(upstream):
            d = d_h.concat()[:count] * (upstream / count)
            return tf.cast(d, h.dtype), d_wte * (upstream / count)

        return loss / count, gradient

    return mean(h, tf.convert_to_tensor(wte))


def plain_cross_entropy(h, wte, labels, *, size: int, weights=None):
    """What cross_entropy gives, where nobody asks for gradients."""
    low_wte, parts = tf.cast(wte, h.dtype), slices(h, labels, size)
    if weights is not None:
        parts = (*parts, slices(h, weights, size)[1])

    def turn(loss, one):
        rows, *answers = one
        return loss + slice_loss(wide_product(rows, low_wte, transpose_b=True), *answers)

    return tf.foldl(turn, parts, 0.0, parallel_iterations=1) / h.shape[0]


def slices(h, labels, size: int):
    """h as [slices, size, n_embd] and labels as [slices, size], -1 behind the last of them."""
    count, width = h.shape
    size = min(size, count)
    padding = -count % size
    rows = tf.reshape(tf.pad(h, [[0, padding], [0, 0]]), [-1, size, width])
    return rows, tf.reshape(tf.pad(labels, [[0, padding]], constant_values=-1), [-1, size])


@tf.function(jit_compile=True, autograph=False)
def slice_loss(logits, labels, weights=None):
    """The sum of the cross-entropies of logits [positions, n_vocab].

    A position whose label is -1 does not count, the others as often as `weights` say, or once.
    """
    some = tf.maximum(labels, 0)
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=some, logits=logits)
    if weights is not None:
        losses *= weights
    return tf.reduce_sum(tf.where(labels >= 0, losses, 0))


@tf.function(jit_compile=True, autograph=False)
def slice_loss_and_gradient(logits, labels, dtype, weights=None):
    """slice_loss, and its gradient in `dtype`."""
    gradient = tf.nn.softmax(logits) - tf.one_hot(labels, logits.shape[-1])
    if weights is not None:
        gradient *= weights[:, None]
    gradient = tf.where((labels >= 0)[:, None], gradient, 0)
    return slice_loss(logits, labels, weights), tf.cast(gradient, dtype)


def dropout_masks(rate: float, seed):
    """What `hidden` takes as `dropout`: the same masks again for the same seed, two integers.

    They are made of whole numbers, which are the same compiled and not, and on every device;
    TensorFlow's own are not. A place may have a rate of its own.
    """

    def fold_in(seed, number):
        return tf.random.experimental.stateless_fold_in(seed, number, alg='philox')

    def dropout(place, rate=rate):
        def drop(x, number):
            mask_seed = fold_in(fold_in(seed, place), number)
            options = {'minval': None, 'maxval': None, 'dtype': tf.uint32, 'alg': 'philox'}
            bits = tf.random.stateless_uniform(tf.shape(x), mask_seed, **options)
            kept = bits >= tf.constant(int(rate * 2**32), tf.uint32)
            return tf.where(kept, x / (1 - rate), 0)

        return drop if rate else as_it_is

    return dropout
