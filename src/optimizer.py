"""Adam and SGD: how a gradient moves a parameter."""

import tensorflow as tf

BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-8
SLOTS = {'adam': ('m', 'v'), 'sgd': ()}  # what is remembered of each parameter's gradients


class Optimizer:
    """Updates variables, {name: variable}, on every replica of the strategy in whose scope it is.

    kind: adam or sgd; weight_decay: of matrices, decoupled from the gradient (AdamW).
    """

    def __init__(self, kind: str, variables: dict, weight_decay: float = 0):
        self.strategy = tf.distribute.get_strategy()
        self.variables, self.weight_decay = variables, weight_decay
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

    def apply(self, gradients: list, learning_rate) -> None:
        """Move each variable once; gradients in the order of the variables."""
        with self.strategy.scope():
            number = tf.cast(self.steps.assign_add(1), tf.float32)
            for (name, variable), gradient in zip(self.variables.items(), gradients, strict=True):
                args = (gradient, learning_rate, number, *self.slots[name])
                self.strategy.extended.update(variable, self._update, args, group=False)

    def _update(self, variable, gradient, learning_rate, number, *slots) -> None:
        if self.weight_decay and len(variable.shape) > 1:  # not of gains and biases
            variable.assign_sub(learning_rate * self.weight_decay * variable)
        if not slots:
            variable.assign_sub(learning_rate * gradient)
            return
        m, v = slots
        tf.raw_ops.ResourceApplyAdam(  # one pass over memory
            var=variable.handle,
            m=m.handle,
            v=v.handle,
            beta1_power=BETA_1**number,
            beta2_power=BETA_2**number,
            lr=learning_rate,
            beta1=BETA_1,
            beta2=BETA_2,
            epsilon=EPSILON,
            grad=gradient,
        )
