"""Training: the loss, its gradients, and one step of the optimizer."""

import tensorflow as tf

from .checkpoint import restore
from .errors import UserError
from .hparams import HParams
from .model import flatten, keep, model
from .optimizer import Optimizer


def language_loss(params, hparams: HParams, inputs, targets, **options):
    """Mean cross-entropy, in nats, of each token of targets [batch, n] but the first.

    inputs: the same tokens as `targets`, except for noise.
    """
    logits = model(params, hparams, inputs, **options)['logits']
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
    """The parameters, their optimizer, and the compiled step that updates both.

    Made, as its parameters, in the scope of a tf.distribute strategy that mirrors variables, it
    trains on all its replicas, each on its own share of every batch.
    """

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
        self.strategy = tf.distribute.get_strategy()
        self.replicas = self.strategy.num_replicas_in_sync
        self.params, self.hparams, self.seed = params, hparams, seed
        self.local = tf.nest.map_structure(self._local, params)
        self.clip_norm, self.dropout = clip_norm, dropout
        self.recompute = memory_saving_gradients
        variables = {
            name: variable
            for name, variable in flatten(params).items()
            if '/' in name and not name.startswith('ln_f') or not only_train_transformer_layers
        }
        self.variables = list(variables.values())
        self.optimizer = Optimizer(optimizer, variables, weight_decay)
        # XLA takes no exchange between replicas: with several, it compiles the rest.
        self._step = tf.function(self._step, jit_compile=self.replicas == 1)
        self._gradients = tf.function(self._gradients, jit_compile=True)

    def _local(self, variable):
        """This process's own first copy of a variable."""
        return self.strategy.experimental_local_results(variable)[0]

    def step(
        self, inputs, targets, learning_rate: float, number: int, stop: bool = False
    ) -> tuple[float, float, bool]:
        """Update the parameters once, by the mean gradient of `accumulate` batches.

        inputs, targets: int32 [accumulate, batch, n], batch divisible by the replicas; number:
        of the step, for dropout. Returns the mean loss, the norm of its gradient before it is
        clipped, and whether any worker said `stop`.
        """
        rate, number = tf.constant(learning_rate, tf.float32), tf.constant(number, tf.int64)
        figures = self._step(inputs, targets, rate, number, tf.constant(float(stop)))
        loss, stop, norm = map(float, figures)
        return loss, norm, stop > 0

    def _step(self, inputs, targets, learning_rate, number, stop):
        figures, *grads = self.strategy.run(self._replica_step, (inputs, targets, number, stop))
        self.optimizer.apply(grads, learning_rate)
        return self._local(figures)

    def _replica_step(self, inputs, targets, number, stop):
        """The means over all replicas: [loss, stop, norm of the gradient], and the gradients."""
        replica = tf.distribute.get_replica_context()
        place = replica.replica_id_in_sync_group
        accumulate, batch, n = inputs.shape
        shares = [accumulate, self.replicas, batch // self.replicas, n]
        inputs, targets = (tf.reshape(x, shares)[:, place] for x in (inputs, targets))
        number = number * self.replicas + tf.cast(place, tf.int64)
        loss, *grads = self._gradients(inputs, targets, number)
        means = replica.all_reduce(tf.distribute.ReduceOp.MEAN, [tf.stack([loss, stop]), *grads])
        (loss, stop), grads = tf.unstack(means[0]), means[1:]
        norm = tf.linalg.global_norm(grads)
        if self.clip_norm:
            grads, _ = tf.clip_by_global_norm(grads, self.clip_norm, use_norm=norm)
        return tf.stack([loss, stop, norm]), *grads

    def _gradients(self, inputs, targets, number):
        """The loss and the gradients, the mean of `accumulate` batches."""
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
        return sums

    @tf.function(jit_compile=True)
    def loss(self, tokens):
        """The loss of tokens [batch, n], without dropout."""
        return language_loss(self.local, self.hparams, tokens, tokens)

    def state(self) -> dict:
        """What the optimizer remembers: {'optimizer/...': variable}."""
        return {
            f'optimizer/{name}': self._local(variable)
            for name, variable in self.optimizer.memory.items()
        }

    def restore(self, prefix) -> None:
        """Set what the optimizer remembers from a checkpoint of `state`.

        Workers but the chief have no checkpoint, prefix None: what is created in the strategy's
        scope has the chief's value everywhere.
        """
        try:
            for name, variable in self.optimizer.memory.items():
                value = self._local(variable)
                if prefix is not None:
                    value = restore(prefix, f'optimizer/{name}', variable.dtype)
                with self.strategy.scope():
                    variable.assign(tf.Variable(value))
        except tf.errors.OpError as error:
            raise UserError(
                f'{prefix} is damaged, or the state of another --optimizer or of other layers; '
                "repeat the run's flags, or begin a run from its model by --restore_from and "
                '--run_name'
            ) from error
