"""Adam and SGD: how a gradient moves a parameter."""

import tensorflow as tf

BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-8
SLOTS = {'adam': ('m', 'v'), 'sgd': ()}  # what is remembered of each parameter's gradients
SCALE = ('scale', 'steps_at_scale')  # of the loss, and so of the gradients
GROW_AFTER = 2000  # steps at a scale, twice of which is then tried


class Optimizer:
    """Updates variables, {name: variable}, on all replicas of the strategy in whose scope it is.

    kind: adam or sgd; weight_decay: of matrices, decoupled from the gradient (AdamW); scaled:
    gradients come times `scale`, which halves, instead of an update, where they overflow. betas:
    what is left in a step of Adam's means of gradients, and of their squares, before it.
    """

    def __init__(
        self,
        kind: str,
        variables: dict,
        weight_decay: float = 0,
        scaled: bool = False,
        betas: tuple[float, float] = (BETA_1, BETA_2),
    ):
        self.betas = betas
        self.strategy = tf.distribute.get_strategy()
        self.variables, self.weight_decay, self.scaled = variables, weight_decay, scaled
        self.steps = tf.Variable(0, dtype=tf.int64)
        self.slots = {
            name: [tf.Variable(tf.zeros_like(variable)) for _ in SLOTS[kind]]
            for name, variable in variables.items()
        }
        self.memory = {'steps': self.steps} | {
            f'{name}/{slot}': variable
            for name, slots in self.slots.items()
            for slot, variable in zip(SLOTS[kind], slots, strict=True)
        }
        self.scale = 1.0
        if scaled:
            self.scale, self.steps_at_scale = tf.Variable(2.0**15), tf.Variable(0, dtype=tf.int64)
            self.memory |= dict(zip(SCALE, (self.scale, self.steps_at_scale), strict=True))

    def apply(self, gradients: list, norm, learning_rate):
        """Move each variable once; gradients in their order, and their norm, both times `scale`.

        Returns the norm without the scale; 0 where it is no number, and nothing has moved.
        """
        with self.strategy.scope():
            if not self.scaled:
                self._move(gradients, 1.0, learning_rate)
                return norm
            scale, finite = tf.convert_to_tensor(self.scale), tf.math.is_finite(norm)
            tf.cond(finite, lambda: self._move(gradients, scale, learning_rate), lambda: None)
            grown = self.steps_at_scale + 1 == GROW_AFTER
            self.steps_at_scale.assign(tf.where(finite & ~grown, self.steps_at_scale + 1, 0))
            self.scale.assign(scale * tf.where(finite, tf.where(grown, 2.0, 1.0), 0.5))
            return tf.where(finite, norm / scale, 0.0)

    def _move(self, gradients, scale, learning_rate) -> None:
        number = tf.cast(self.steps.assign_add(1), tf.float32)
        for (name, variable), gradient in zip(self.variables.items(), gradients, strict=True):
            args = (gradient, scale, learning_rate, number, *self.slots[name])
            self.strategy.extended.update(variable, self._update, args, group=False)

    def _update(self, variable, gradient, scale, learning_rate, number, *slots) -> None:
        if self.weight_decay and len(variable.shape) > 1:  # not of gains and biases
            variable.assign_sub(learning_rate * self.weight_decay * variable)
        if self.scaled:
            gradient /= scale
        if not slots:
            variable.assign_sub(learning_rate * gradient)
            return
        (m, v), (beta1, beta2) = slots, self.betas
        tf.raw_ops.ResourceApplyAdam(  # in one pass over memory
            var=variable.handle,
            m=m.handle,
            v=v.handle,
            beta1_power=beta1**number,
            beta2_power=beta2**number,
            lr=learning_rate,
            beta1=beta1,
            beta2=beta2,
            epsilon=EPSILON,
            grad=gradient,
        )
