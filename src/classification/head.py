"""What stands on the last block to answer a task, and the loss by which it learns to."""

import tensorflow as tf

from ..checkpoint import restore
from ..hparams import HParams
from ..model import as_it_is, predict, shape_list
from ..training.loss import SLICE, SMALL_SLICE, cross_entropy, states


def new_head(
    hparams: HParams, outputs: int, bias: bool, random: tf.random.Generator, mean: float = 0
) -> dict:
    """{'w': [n_embd, outputs], 'b': [outputs]}: small random weights; b, if any, is `mean`."""
    w = random.normal([hparams.n_embd, outputs], stddev=0.02)
    head = {'w': tf.Variable(w, name='head/w')}
    return head | (
        {'b': tf.Variable(tf.fill([outputs], float(mean)), name='head/b')} if bias else {}
    )


def load_head(prefix) -> dict:
    """The head in a checkpoint."""
    found = tf.train.load_checkpoint(str(prefix)).get_variable_to_shape_map()
    names = [name for name in ('head/w', 'head/b') if name in found]
    return {name[-1]: tf.Variable(restore(prefix, name), name=name) for name in names}


def answers(h, ends, head: dict, kind: str, drop=as_it_is):
    """What the head makes of states h [rows * inputs, n, n_embd]: its figures, float32.

    ends [rows, inputs]: where each input ends. Returns [rows, labels], of a multiple choice
    [rows, inputs], of a regression [rows, 1]. The two inputs of a similarity are added before the
    linear layer; drop: dropout, the same for all inputs of a row.
    """
    rows, inputs = shape_list(ends)
    h = tf.gather(h, tf.reshape(ends, [-1]), batch_dims=1)
    h = tf.reshape(tf.cast(h, tf.float32), [rows, inputs, h.shape[-1]])
    h *= drop(tf.ones([rows, 1, h.shape[-1]]), 0)
    if kind != 'multiple_choice':
        h = tf.reduce_sum(h, axis=1)
    figures = tf.tensordot(h, head['w'], 1)
    figures = figures + head['b'] if 'b' in head else figures
    return tf.squeeze(figures, -1) if kind == 'multiple_choice' else figures


def blank_scores(params, h, tokens, ends, blanks):
    """The mean log-probability of the ids that stand in the blank, float32 [rows, inputs].

    h: states of tokens [rows, inputs, n]; ends [rows, inputs]: where each input ends; blanks
    [rows, inputs, longest]: of its last ids, the very last first, 1 where one stands in the blank.
    """
    rows, inputs, n = shape_list(tokens)
    blanks = tf.reshape(blanks, [rows * inputs, shape_list(blanks)[-1]])
    places = tf.maximum(tf.reshape(ends, [-1, 1]) - tf.range(shape_list(blanks)[-1]), 1)
    ids = tf.gather(tf.reshape(tokens, [-1, n]), places, batch_dims=1)
    before = tf.gather(h, places - 1, batch_dims=1)
    log_probs = tf.nn.log_softmax(logits_of(params, before))
    picked = tf.gather(log_probs, ids, batch_dims=2)
    scores = tf.reduce_sum(picked * blanks, axis=1) / tf.reduce_sum(blanks, axis=1)
    return tf.reshape(scores, [rows, inputs])


def logits_of(params, h):
    """`predict`, for states of any type."""
    return predict({'wte': tf.cast(params['wte'], h.dtype)}, h)


def joint_loss(
    params,
    hparams: HParams,
    tokens,
    targets,
    *,
    kind: str,
    lm_weight: float = 0.5,
    head_dropout: float = 0.1,
    dtype=tf.float32,
    recompute: bool = False,
    dropout=lambda place, rate=0: as_it_is,
):
    """The mean over rows of a task's loss, and `lm_weight` times that of language modelling.

    tokens, targets: as rows.arrays makes them. A task's loss is the cross-entropy of the labels or
    choices, of a regression the squared error. That of language modelling is, for each input, the
    mean over its tokens, the special ones too; of a cloze, for the input of the right label.
    dtype, recompute, dropout: as in language_loss.
    """
    rows, inputs, n = tokens.shape
    flat, ends, labels = tf.reshape(tokens, [-1, n]), targets['ends'], targets['labels']
    h = states(params, hparams, flat, dtype=dtype, recompute=recompute, dropout=dropout)
    h = tf.cast(h, dtype)
    if kind == 'cloze':
        figures = blank_scores(params, h, tokens, ends, targets['blanks'])
    else:
        drop = dropout(hparams.n_layer + 1, head_dropout)
        figures = answers(h, ends, params['head'], kind, drop)
    loss = tf.reduce_mean(row_losses(figures, labels, kind))
    if not lm_weight:
        return loss
    if kind == 'cloze':
        h = tf.gather(tf.reshape(h, [rows, inputs, n, -1]), labels, batch_dims=1)
        flat, ends = (tf.gather(x, labels, batch_dims=1) for x in (tokens, ends))
    size = SMALL_SLICE if recompute else SLICE
    return loss + lm_weight * row_language_loss(h, params['wte'], flat, ends, size)


def row_losses(figures, labels, kind: str):
    """[rows], of what `answers` or `blank_scores` give."""
    if kind == 'regression':
        return tf.square(figures[:, 0] - labels)
    return tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=figures)


def row_language_loss(h, wte, tokens, ends, size: int):
    """The mean, over inputs, of the mean cross-entropy of each one's tokens but the first.

    h: states [inputs, n, n_embd] of tokens [inputs, n], which end at `ends`.
    """
    ends = tf.reshape(ends, [-1, 1])
    is_there = tf.range(tokens.shape[1] - 1) < ends
    labels = tf.where(is_there, tokens[:, 1:], -1)
    # As cross_entropy takes the mean over all positions, those of an input count n - 1 in sum.
    weights = (tokens.shape[1] - 1) / tf.cast(ends, tf.float32) * tf.ones(labels.shape)
    flat = tf.reshape(h[:, :-1], [-1, h.shape[-1]])
    labels, weights = tf.reshape(labels, [-1]), tf.reshape(weights, [-1])
    return cross_entropy(flat, wte, labels, size=size, weights=weights)
