"""One step of training: the parameters, their gradients, and the optimizer that moves them."""

from collections.abc import Callable

import tensorflow as tf

from ..checkpoint import UNREADABLE, check_allowed, restore
from ..errors import UserError
from ..fast import on_gpu
from ..hparams import HParams
from ..params import flatten
from .loss import dropout_masks, language_loss
from .optimizer import BETA_1, BETA_2, SCALE, Optimizer


class Trainer:
    """The parameters, their optimizer, and the compiled step that updates both.

    Made, as its parameters, in the scope of a tf.distribute strategy that mirrors variables, it
    trains on all its replicas, each on its own share of every batch. `step` calls the compiled
    _all_replicas_step, which calls _replica_step on each, and that the compiled _gradients.
    """

    def __init__(
        self,
        params: dict,
        hparams: HParams,
        *,
        optimizer: str = 'adam',
        beta1: float = BETA_1,
        beta2: float = BETA_2,
        weight_decay: float = 0,
        clip_norm: float | None = None,
        dropout: float = 0,
        memory_saving_gradients: bool = False,
        only_train_transformer_layers: bool = False,
        precision: str = 'float32',
        seed: int = 0,
        loss: Callable = language_loss,
    ):
        """loss: called as language_loss is, with one of the batches that `step` gets."""
        self.strategy = tf.distribute.get_strategy()
        self.replicas = self.strategy.num_replicas_in_sync
        self.params, self.hparams, self.seed = params, hparams, seed
        self.loss_of = loss
        self.local = tf.nest.map_structure(self._local, params)
        self.clip_norm, self.dropout = clip_norm, dropout
        self.recompute = memory_saving_gradients
        self.dtype = tf.as_dtype(precision)
        variables = {
            name: variable
            for name, variable in flatten(params).items()
            if '/' in name and not name.startswith('ln_f') or not only_train_transformer_layers
        }
        self.variables = list(variables.values())
        scaled = self.dtype == tf.float16  # small gradients would be 0 in it
        self.optimizer = Optimizer(optimizer, variables, weight_decay, scaled, (beta1, beta2))
        # On a GPU it pays to compile the step as a whole. On a CPU XLA has slower matrix products
        # than TensorFlow itself, by a fifth in float32 and to a fifth in bfloat16; see
        # benchmarks/training.py. XLA takes no exchange between replicas: with several, it
        # compiles what they do alone.
        compiled = on_gpu()
        self.compiled_step = tf.function(
            self._all_replicas_step, jit_compile=compiled and self.replicas == 1, autograph=False
        )
        self.compiled_gradients = tf.function(
            self._gradients, jit_compile=compiled, autograph=False
        )
        self.compiled_loss = tf.function(self._loss, jit_compile=compiled, autograph=False)

    def _local(self, variable):
        """This process's own first copy of a variable, or of a result."""
        return self.strategy.experimental_local_results(variable)[0]

    def step(
        self, inputs, targets, learning_rate: float, number: int, stop: bool = False
    ) -> tuple[float, float, bool]:
        """Update the parameters once, by the mean gradient of `accumulate` batches.

        inputs, targets: int32 [accumulate, batch, n], or what else the loss takes, laid out so,
        of all replicas; number: of the step, for dropout. Returns the mean loss and the norm of
        its gradient, before it is clipped; 0 where float16 has no number for it: then the
        parameters stay, and the next step scales it down. And whether any worker said `stop`.
        """
        rate, number = tf.constant(learning_rate, tf.float32), tf.constant(number, tf.int64)
        figures = self.compiled_step(inputs, targets, rate, number, tf.constant(float(stop)))
        loss, norm, stop = figures.numpy().tolist()  # all at once: a GPU is waited for each time
        return loss, norm, stop > 0

    def _all_replicas_step(self, inputs, targets, learning_rate, number, stop):
        """One tensor [loss, norm of the gradient, stop], once the parameters have moved."""
        figures, *grads = self.strategy.run(self._replica_step, (inputs, targets, number, stop))
        loss, norm, stop = tf.unstack(self._local(figures))
        norm = self.optimizer.apply(grads, norm, learning_rate)
        return tf.stack([loss, norm, stop])

    def _replica_step(self, inputs, targets, number, stop):
        """The means over all replicas: [loss, norm of the gradient, stop], and the gradients."""
        replica = tf.distribute.get_replica_context()
        place = replica.replica_id_in_sync_group

        def share(x):
            accumulate, batch, *rest = x.shape
            shares = [accumulate, self.replicas, batch // self.replicas, *rest]
            return tf.reshape(x, shares)[:, place]

        inputs, targets = tf.nest.map_structure(share, (inputs, targets))
        number = number * self.replicas + tf.cast(place, tf.int64)
        scale = tf.convert_to_tensor(self.optimizer.scale)
        loss, *grads = self.compiled_gradients(inputs, targets, number, scale)
        means = replica.all_reduce(tf.distribute.ReduceOp.MEAN, [tf.stack([loss, stop]), *grads])
        (loss, stop), grads = tf.unstack(means[0]), means[1:]
        norm = tf.linalg.global_norm(grads)
        if self.clip_norm:
            grads, _ = tf.clip_by_global_norm(grads, self.clip_norm * scale, use_norm=norm)
        return tf.stack([loss, norm, stop]), *grads

    def _gradients(self, inputs, targets, number, scale):
        """The mean loss of `accumulate` batches, and its gradients times `scale`."""
        accumulate = inputs.shape[0]

        def gradients(i):
            seed = [tf.constant(self.seed, tf.int64), number * accumulate + tf.cast(i, tf.int64)]
            options = {'dropout': dropout_masks(self.dropout, seed), 'recompute': self.recompute}
            options['dtype'] = self.dtype
            with tf.GradientTape() as tape:
                batch = tf.nest.map_structure(lambda x: x[i], (inputs, targets))
                loss = self.loss_of(self.params, self.hparams, *batch, **options)
                scaled = loss * scale
            grads = tape.gradient(scaled, self.variables)
            return [loss, *map(tf.convert_to_tensor, grads)]

        return mean_of(gradients, accumulate)

    def loss(self, tokens, targets=None):
        """The loss of tokens [batch, n], without dropout; targets: None for the same."""
        return self.compiled_loss(tokens, tokens if targets is None else targets)

    def _loss(self, tokens, targets):
        options = {'dtype': self.dtype, 'learn': False}
        return self.loss_of(self.local, self.hparams, tokens, targets, **options)

    def state(self) -> dict:
        """What the optimizer remembers: {'optimizer/...': variable}."""
        return {
            f'optimizer/{name}': self._local(variable)
            for name, variable in self.optimizer.memory.items()
        }

    def restore(self, prefix) -> None:
        """Set what the optimizer remembers from a checkpoint of `state`.

        The scale of the loss, which float16 alone has, stays where the checkpoint has none.
        Workers but the chief have no checkpoint, prefix None: what is created in the scope of
        the strategy has the chief's value everywhere.
        """
        values = {name: self._local(value) for name, value in self.optimizer.memory.items()}
        try:
            if prefix is not None:
                found = tf.train.load_checkpoint(str(prefix)).get_variable_to_shape_map()
                for name, value in values.items():
                    if f'optimizer/{name}' in found or name not in SCALE:
                        values[name] = restore(prefix, f'optimizer/{name}', value.dtype)
        except UNREADABLE as error:
            check_allowed(prefix, error)
            raise UserError(
                f'{prefix} is damaged, or the state of another --optimizer or of other layers; '
                "repeat the run's flags"
            ) from error
        with self.strategy.scope():
            for name, variable in self.optimizer.memory.items():
                variable.assign(tf.Variable(values.pop(name)))


def mean_of(tensors: Callable, count: int) -> list:
    """The mean of the lists tensors(i) for i below `count`, of which one exists at a time."""
    sums = tensors(0)
    if count == 1:
        return sums
    _, sums = tf.while_loop(
        lambda i, sums: i < count,
        lambda i, sums: (i + 1, [a + b for a, b in zip(sums, tensors(i), strict=True)]),
        [1, sums],
    )
    return [x / count for x in sums]
