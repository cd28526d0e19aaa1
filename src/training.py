"""Training: the loss, its gradients, and one step of the optimizer."""

import tensorflow as tf

from .checkpoint import restore
from .errors import UserError
from .hparams import HParams
from .model import flatten, hidden, keep, predict

OPTIMIZERS = {
    'adam': lambda **options: tf.keras.optimizers.Adam(epsilon=1e-8, **options),
    'sgd': tf.keras.optimizers.SGD,
}


def language_loss(params, hparams: HParams, inputs, targets, **options):
    """Mean cross-entropy, in nats, of each token of targets [batch, n] but the first.

    inputs: the same tokens as `targets`, except for noise.
    """
    logits = predict(params, hidden(params, hparams, inputs, **options)[0])
    return tf.reduce_mean(
        tf.nn.sparse_softmax_cross_entropy_with_logits(labels=targets[:, 1:], logits=logits[:, :-1])
    )


def dropout_masks(rate: float, seed):
    """What model() takes as `dropout`: the same masks again for the same seed, two integers."""

    def dropout(place):
        calls = []

        def drop(x):
            calls.append(x)
            mask = [seed[0], seed[1] * 1024 + place * 8 + len(calls)]
            return tf.nn.experimental.stateless_dropout(x, rate, seed=tf.stack(mask))

        return drop

    return dropout if rate else keep


class Trainer:
    """The parameters, their optimizer, and the compiled step that updates both."""

    def __init__(
        self,
        params: dict,
        hparams: HParams,
        *,
        optimizer: str = 'adam',
        weight_decay: float = 0,
        clip_norm: float | None = None,
        dropout: float = 0,
        memory_saving_gradients: bool = False,
        only_train_transformer_layers: bool = False,
        seed: int = 0,
    ):
        self.params, self.hparams, self.seed = params, hparams, seed
        self.clip_norm, self.dropout = clip_norm, dropout
        self.recompute = memory_saving_gradients
        flat = flatten(params)
        self.variables = [
            variable
            for name, variable in flat.items()
            if '/' in name and not name.startswith('ln_f') or not only_train_transformer_layers
        ]
        self.optimizer = OPTIMIZERS[optimizer](learning_rate=0.0, weight_decay=weight_decay or None)
        if weight_decay:  # of matrices only, not of gains and biases
            vectors = [variable for variable in self.variables if len(variable.shape) == 1]
            self.optimizer.exclude_from_weight_decay(var_list=vectors)
        self.optimizer.build(self.variables)

    def step(self, inputs, targets, learning_rate: float, number: int) -> tuple[float, float]:
        """Update the parameters once, by the mean gradient of `accumulate` batches.

        inputs, targets: int32 [accumulate, batch, n]; number: of the step, for dropout.
        Returns the mean loss and the norm of its gradient, before it is clipped.
        """
        rate, number = tf.constant(learning_rate, tf.float32), tf.constant(number, tf.int64)
        loss, norm = self._step(inputs, targets, rate, number)
        return float(loss), float(norm)

    @tf.function(jit_compile=True)
    def _step(self, inputs, targets, learning_rate, number):
        accumulate = inputs.shape[0]

        def gradients(i):
            seed = [tf.constant(self.seed, tf.int64), number * accumulate + tf.cast(i, tf.int64)]
            options = {'dropout': dropout_masks(self.dropout, seed), 'recompute': self.recompute}
            with tf.GradientTape() as tape:
                loss = language_loss(self.params, self.hparams, inputs[i], targets[i], **options)
            grads = tape.gradient(loss, self.variables)
            return [x / accumulate for x in (loss, *map(tf.convert_to_tensor, grads))]

        sums = gradients(0)
        if accumulate > 1:
            _, sums = tf.while_loop(
                lambda i, sums: i < accumulate,
                lambda i, sums: (i + 1, [a + b for a, b in zip(sums, gradients(i), strict=True)]),
                [1, sums],
            )
        loss, *grads = sums
        norm = tf.linalg.global_norm(grads)
        if self.clip_norm:
            grads, _ = tf.clip_by_global_norm(grads, self.clip_norm, use_norm=norm)
        self.optimizer.learning_rate.assign(learning_rate)
        self.optimizer.apply_gradients(zip(grads, self.variables, strict=True))
        return loss, norm

    @tf.function(jit_compile=True)
    def loss(self, tokens):
        """The loss of tokens [batch, n], without dropout."""
        return language_loss(self.params, self.hparams, tokens, tokens)

    def state(self) -> dict:
        """What the optimizer remembers: {'optimizer/...': variable}."""
        return {
            f'optimizer/{variable.path.partition("/")[2]}': variable.value
            for variable in self.optimizer.variables
        }

    def restore(self, prefix) -> None:
        """Set what the optimizer remembers from a checkpoint of `state`."""
        try:
            for name, variable in self.state().items():
                variable.assign(restore(prefix, name, variable.dtype))
        except tf.errors.OpError as error:
            raise UserError(
                f'{prefix} is damaged, or the state of another --optimizer or of other layers; '
                "repeat the run's flags, or begin a run from its model by --restore_from and "
                '--run_name'
            ) from error
