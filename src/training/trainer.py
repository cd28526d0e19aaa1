"""Training: the loss, its gradients, and one step of the optimizer."""

import tensorflow as tf

from ..checkpoint import restore
from ..errors import UserError
from ..fast import on_gpu, wide_product
from ..hparams import HParams
from ..model import hidden, keep
from ..params import flatten
from .optimizer import SCALE, Optimizer

SLICE, SMALL_SLICE = 512, 128  # positions whose logits exist at once; to save memory


def language_loss(params, hparams: HParams, inputs, targets, **options):
    """Mean cross-entropy, in nats, of each token of targets [batch, n] but the first.

    inputs: the same tokens as `targets`, except for noise.
    """
    h, _ = hidden(params, hparams, inputs, **options)
    h = tf.reshape(h[:, :-1], [-1, hparams.n_embd])
    size = SMALL_SLICE if options.get('recompute') else SLICE
    return cross_entropy(h, params['wte'], tf.reshape(targets[:, 1:], [-1]), size=size)


def cross_entropy(h, wte, labels, *, size: int):
    """The mean over positions, where h [positions, n_embd] @ wte are the logits.

    The logits of all positions would be the largest tensor by far. So those of `size` positions
    live at a time, and become their share of the gradients at once: one turn of a loop after
    another, also where XLA compiles it, which knows no other order. They, and the gradients, are
    summed up in float32, whatever the type of h.
    """
    count = h.shape[0]
    size = min(size, count)
    padding = -count % size
    turns = (count + padding) // size

    @tf.custom_gradient
    def mean(h, wte):
        low_wte = tf.cast(wte, h.dtype)
        rows = tf.reshape(tf.pad(h, [[0, padding], [0, 0]]), [turns, size, -1])
        answers = tf.reshape(tf.pad(labels, [[0, padding]], constant_values=-1), [turns, size])

        def turn(i, loss, d_h, d_wte):
            logits = wide_product(rows[i], low_wte, transpose_b=True)
            part, d_logits = slice_loss(logits, answers[i], h.dtype)
            d_h = d_h.write(i, wide_product(d_logits, low_wte))
            d_wte += wide_product(tf.transpose(d_logits), rows[i])
            return [i + 1, loss + part, d_h, d_wte]

        d_h = tf.TensorArray(tf.float32, turns, element_shape=[size, h.shape[1]])
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


@tf.function(jit_compile=True)
def slice_loss(logits, labels, dtype):
    """The sum of the cross-entropies of logits [positions, n_vocab], and its gradient in `dtype`.

    A position whose label is -1 does not count.
    """
    counts = labels >= 0
    labels = tf.maximum(labels, 0)
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)
    gradient = tf.nn.softmax(logits) - tf.one_hot(labels, logits.shape[-1])
    gradient = tf.cast(tf.where(counts[:, None], gradient, 0), dtype)
    return tf.reduce_sum(tf.where(counts, losses, 0)), gradient


def dropout_masks(rate: float, seed):
    """What model() takes as `dropout`: the same masks again for the same seed, two integers.

    They are made of whole numbers, which are the same compiled and not, and on every device;
    TensorFlow's own are not.
    """

    def fold_in(seed, number):
        return tf.random.experimental.stateless_fold_in(seed, number, alg='philox')

    def dropout(place):
        def drop(x, number):
            mask_seed = fold_in(fold_in(seed, place), number)
            options = {'minval': None, 'maxval': None, 'dtype': tf.uint32, 'alg': 'philox'}
            bits = tf.random.stateless_uniform(tf.shape(x), mask_seed, **options)
            kept = bits >= tf.constant(int(rate * 2**32), tf.uint32)
            return tf.where(kept, x / (1 - rate), 0)

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
        precision: str = 'float32',
        seed: int = 0,
    ):
        self.strategy = tf.distribute.get_strategy()
        self.replicas = self.strategy.num_replicas_in_sync
        self.params, self.hparams, self.seed = params, hparams, seed
        self.local = tf.nest.map_structure(self._local, params)
        self.clip_norm, self.dropout = clip_norm, dropout
        self.recompute = memory_saving_gradients
        self.dtype = None if precision == 'float32' else tf.as_dtype(precision)
        variables = {
            name: variable
            for name, variable in flatten(params).items()
            if '/' in name and not name.startswith('ln_f') or not only_train_transformer_layers
        }
        self.variables = list(variables.values())
        scaled = self.dtype == tf.float16  # small gradients would be 0 in it
        self.optimizer = Optimizer(optimizer, variables, weight_decay, scaled)
        # On a GPU it pays to compile the step as a whole. On a CPU XLA has slower matrix products
        # than TensorFlow itself, by a fifth in float32 and to a fifth in bfloat16; see
        # benchmarks/training.py. XLA takes no exchange between replicas: with several, it
        # compiles what they do alone.
        compiled = on_gpu()
        self._step = tf.function(self._step, jit_compile=compiled and self.replicas == 1)
        self._gradients = tf.function(self._gradients, jit_compile=compiled)
        self.loss = tf.function(self.loss, jit_compile=compiled)

    def _local(self, variable):
        """This process's own first copy of a variable, or of a result."""
        return self.strategy.experimental_local_results(variable)[0]

    def step(
        self, inputs, targets, learning_rate: float, number: int, stop: bool = False
    ) -> tuple[float, float, bool]:
        """Update the parameters once, by the mean gradient of `accumulate` batches.

        inputs, targets: int32 [accumulate, batch, n], the batch of all replicas; number: of the
        step, for dropout. Returns the mean loss and the norm of its gradient, before it is
        clipped; 0 where float16 has no number for it: then the parameters stay, and the next
        step scales it down. And whether any worker said `stop`.
        """
        rate, number = tf.constant(learning_rate, tf.float32), tf.constant(number, tf.int64)
        figures = self._step(inputs, targets, rate, number, tf.constant(float(stop)))
        loss, norm, stop = figures.numpy().tolist()  # all at once: a GPU is waited for each time
        return loss, norm, stop > 0

    def _step(self, inputs, targets, learning_rate, number, stop):
        figures, *grads = self.strategy.run(self._replica_step, (inputs, targets, number, stop))
        loss, norm, stop = tf.unstack(self._local(figures))
        norm = self.optimizer.apply(grads, norm, learning_rate)
        return tf.stack([loss, norm, stop])

    def _replica_step(self, inputs, targets, number, stop):
        """The means over all replicas: [loss, norm of the gradient, stop], and the gradients."""
        replica = tf.distribute.get_replica_context()
        place = replica.replica_id_in_sync_group
        accumulate, batch, n = inputs.shape
        shares = [accumulate, self.replicas, batch // self.replicas, n]
        inputs, targets = (tf.reshape(x, shares)[:, place] for x in (inputs, targets))
        number = number * self.replicas + tf.cast(place, tf.int64)
        scale = tf.convert_to_tensor(self.optimizer.scale)
        loss, *grads = self._gradients(inputs, targets, number, scale)
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
                loss = language_loss(self.params, self.hparams, inputs[i], targets[i], **options)
                scaled = loss * scale
            grads = tape.gradient(scaled, self.variables)
            return [loss, *map(tf.convert_to_tensor, grads)]

        sums = gradients(0)
        if accumulate > 1:
            _, sums = tf.while_loop(
                lambda i, sums: i < accumulate,
                lambda i, sums: (i + 1, [a + b for a, b in zip(sums, gradients(i), strict=True)]),
                [1, sums],
            )
            sums = [x / accumulate for x in sums]
        return sums

    def loss(self, tokens):
        """The loss of tokens [batch, n], without dropout."""
        return language_loss(self.local, self.hparams, tokens, tokens, dtype=self.dtype)

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
        except (tf.errors.OpError, RuntimeError) as error:
            raise UserError(
                f'{prefix} is damaged, or the state of another --optimizer or of other layers; '
                "repeat the run's flags, or begin a run from its model by --restore_from and "
                '--run_name'
            ) from error
        with self.strategy.scope():
            for name, variable in self.optimizer.memory.items():
                variable.assign(tf.Variable(values.pop(name)))
