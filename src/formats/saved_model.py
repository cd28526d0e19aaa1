"""A model as a SavedModel: TensorFlow alone runs it, without this package."""

from pathlib import Path

import tensorflow as tf

from .. import files, runtime
from ..cache import split_past
from ..fast import recomputing
from ..hparams import HParams
from ..loading import Found
from ..model import hidden, predict
from ..processors import NEVER
from ..sample import draw, top_p_logits
from ..steps import one_block
from .uniforms import uniforms

IDS = tf.TensorSpec([None, None], tf.int32, 'ids')
GENERATE = {
    'length': tf.int32,
    'temperature': tf.float32,
    'top_k': tf.int32,
    'top_p': tf.float32,
    'seed': tf.int64,
}


def to_saved_model(found: Found, to: Path) -> None:
    """Make a SavedModel of a model, with the signatures `logits` and `generate`."""
    model = found.load()
    module = Module(model.params, model.hparams)
    no_gradients = recomputing.set(True)  # nothing is computed anew for them
    signatures = {'logits': module.logits, 'generate': module.generate}
    try:
        with files.writing_folder(to) as aside, runtime.waiting('Writing ...'):
            tf.saved_model.save(module, str(aside), signatures=signatures)
    finally:
        recomputing.reset(no_gradients)


class Module(tf.Module):
    """The parameters, and what a SavedModel offers to do with them."""

    def __init__(self, params: dict, hparams: HParams):
        super().__init__()
        self.params, self.hparams = params, hparams
        specs = [tf.TensorSpec([], dtype, name) for name, dtype in GENERATE.items()]
        self.logits = tf.function(self._logits, input_signature=[IDS], autograph=False)
        self.generate = tf.function(self._generate, input_signature=[IDS, *specs], autograph=False)

    def _logits(self, ids):
        """float32 [batch, n, n_vocab] of ids [batch, n]."""
        h, _ = hidden(self.params, self.hparams, ids, block=one_block)
        return {'logits': predict(self.params, h)}

    def _generate(self, ids, length, temperature, top_k, top_p, seed):
        """ids [batch, n] with `length` more behind them, those of sample.generate by this seed.

        temperature 0 takes the most probable token, top_k 0 and top_p 1 draw among all.
        """
        n_ctx, batch = self.hparams.n_ctx, tf.shape(ids)[0]
        tf.debugging.assert_non_negative(seed, 'a seed below 0')
        numbers = uniforms(seed, batch, length)

        def body(i, ids, past):
            full = tf.shape(past)[4] == n_ctx
            past = tf.cond(full, lambda: self.read(ids[:, -(n_ctx // 2) : -1]), lambda: past)
            pasts = [[layer] for layer in split_past(past)]
            h, presents = hidden(self.params, self.hparams, ids[:, -1:], pasts, block=one_block)
            past = tf.concat([past, stacked(presents)], axis=4)
            logits = predict(self.params, h)[:, -1]
            token = choose(logits, numbers[:, i], temperature, top_k, top_p)
            return i + 1, tf.concat([ids, token[:, None]], axis=1), past

        past = self.read(ids[:, :-1])
        start = [tf.constant(0), ids, past]
        shapes = [tf.TensorShape([]), IDS.shape, past.shape]
        _, ids, _ = tf.while_loop(lambda i, *_: i < length, body, start, shapes)
        return {'ids': ids}

    def read(self, ids):
        """The keys and values of ids [batch, n], as model.model lays them out."""
        _, presents = hidden(self.params, self.hparams, ids, block=one_block)
        return stacked(presents)


def stacked(presents):
    """[batch, n_layer, 2, n_head, n, features], with any batch and n."""
    past = tf.stack([tf.stack(pair, axis=1) for pair in presents], axis=1)
    _, *middle, features = past.shape
    return tf.ensure_shape(past, [None, *middle[:-1], None, features])


def choose(logits, uniform, temperature, top_k, top_p):
    """A token of each row [batch]: what sample.choose gives for these options, as tensors."""

    def drawn():
        n = logits.shape[-1]
        x = logits / temperature
        x = tf.cond(top_k > 0, lambda: top_k_logits(x, tf.minimum(top_k, n)), lambda: x)
        return draw(tf.cond(top_p < 1, lambda: top_p_logits(x, top_p), lambda: x), uniform)

    greedy = temperature < 1e-6
    return tf.cond(greedy, lambda: tf.argmax(logits, -1, output_type=tf.int32), drawn)


def top_k_logits(logits, k):
    """sample.top_k_logits, of a k that is a tensor above 0."""
    values, _ = tf.math.top_k(logits, k=k)
    return tf.where(logits < tf.reduce_min(values, axis=-1, keepdims=True), NEVER, logits)
