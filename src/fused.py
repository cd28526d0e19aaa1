"""Elementwise functions as single kernels, where TensorFlow runs operation by operation."""

import functools

import tensorflow as tf


def fused(function):
    """`function` compiled by XLA; its gradient keeps only its arguments, not what lies between.

    Positional arguments are tensors, keywords plain values; it returns one tensor. Where it is
    called eagerly, or with dimensions not known yet, it runs as it is: XLA would compile it anew
    for every shape.
    """
    forward = tf.function(function, jit_compile=True, autograph=False)

    @tf.function(jit_compile=True, autograph=False)
    def backward(args, upstream, **static):
        floats = [x for x in args if x.dtype.is_floating]
        with tf.GradientTape() as tape:
            tape.watch(floats)
            result = function(*args, **static)
        return tape.gradient(result, floats, upstream)

    @functools.wraps(function)
    def wrapper(*args, **static):
        @tf.custom_gradient
        def call(*args):
            def gradient(upstream):
                grads = iter(backward(args, upstream, **static))
                return [next(grads) if x.dtype.is_floating else None for x in args]

            return forward(*args, **static), gradient

        args = [tf.convert_to_tensor(x) for x in args]
        if tf.executing_eagerly() or not all(x.shape.is_fully_defined() for x in args):
            return function(*args, **static)
        return call(*args)

    return wrapper
