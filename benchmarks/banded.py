#!/usr/bin/env python3
"""Times a token, far into the context, of models with banded attention, beside dense."""

import statistics
import time

import numpy as np
import tensorflow as tf

from gpt2 import cli, runtime, steps, weights
from gpt2.hparams import HParams
from gpt2.options import SamplingOptions
from gpt2.params import flatten, init_params, nest
from gpt2.processors import settings_of
from gpt2.sample import choose


def benchmark(
    positions: str = '256,1024,8192',
    window: int = 256,
    rounds: int = 5,
    n_vocab: int = 50257,
    n_embd: int = 768,
    n_head: int = 12,
    n_layer: int = 12,
    precision: str = 'float32',
):
    """
    Time a token after so many others, dense and banded in turns

    :positions=256,1024,8192 : How many positions stand before it, several after commas
    :window=256 : At how many a banded block looks
    :rounds=5 : How often each is measured; the median counts
    :n_vocab=50257 : The model's shape, if left out that of 124M
    :n_embd=768 : The model's width
    :n_head=12 : Its heads
    :n_layer=12 : Its blocks
    :precision=float32 : What its matrices are stored in
    """
    runtime.start(precision)
    print('| positions | attention | ms per token | cache MiB |\n|---|---|---|---|')
    for filled in map(int, positions.split(',')):
        shape = HParams(n_vocab, filled + steps.CHUNK, n_embd, n_head, n_layer)
        convert = weights.for_sampling(precision)
        flat = flatten(init_params(shape, seed=0))
        params = nest({name: convert(name, value) for name, value in flat.items()})
        kinds = {'dense': {}, 'banded': {'attention': ['banded'], 'window': window}}
        kinds['dense,banded'] = {'attention': ['dense', 'banded'], 'window': window}
        timers = {name: timer(params, shape, filled, values) for name, values in kinds.items()}
        took = {name: [] for name in kinds}
        for _ in range(rounds):
            for name, (run, _) in timers.items():
                took[name].append(run())
        for name, (_, size) in timers.items():
            median = 1000 * statistics.median(took[name]) / steps.CHUNK
            print(f'| {filled} | {name} | {median:.1f} | {size / 2**20:.0f} |', flush=True)


def timer(params, shape: HParams, filled: int, values: dict) -> tuple:
    """(what feeds a chunk of tokens after so many and returns its seconds, bytes of the cache)."""
    hparams = HParams(**vars(shape)).override_from_dict(values)
    context = np.zeros([filled + 1], np.int32)
    memory = steps.read(params, hparams, [context[:0]], filled)  # what stands in it takes no time
    settings = settings_of(SamplingOptions(length=steps.CHUNK, temperature=0), hparams.n_vocab)

    def run() -> float:
        written = steps.write([context], steps.CHUNK, 0)
        began = time.perf_counter()
        given = (memory, tf.constant(filled), tf.constant(steps.CHUNK), written, settings)
        steps.feed(params, hparams, *given, choose=choose)[0].ids.numpy()
        return time.perf_counter() - began

    run()  # compiles
    return run, sum(x.shape.num_elements() * 4 for block in memory for x in block)


if __name__ == '__main__':
    cli.run(benchmark)
