"""Tokens/s of the lm-eval adapter beside the plain forward pass, on random weights and requests."""

import time

import numpy as np

from gpt2 import cli, runtime
from gpt2.hparams import HParams

# Tokens before, tokens after, and how many of these: as the tasks of each kind have them.
KINDS = {
    'last words': ((60, 120), (1, 3), 1),
    'choices': ((40, 100), (10, 40), 4),
    'choices, 5 shots': ((400, 600), (10, 40), 4),
    'texts': ((1, 2), (900, 1023), 1),
}


def benchmark(
    tokens: int = 4000,
    batch_size: int = 8,
    repeat: int = 2,
    n_layer: int = 12,
    n_head: int = 12,
    n_embd: int = 768,
):
    """
    Score random requests, and run model() on full rows of their mean length

    A request's tokens are its context's, also where several share it, and those scored.

    :tokens=4000 : About how many of each kind of request
    :batch_size=8 : Rows at a time
    :repeat=2 : How often; the fastest counts
    :n_layer=12 : The model's shape, if left out, that of 124M
    :n_head=12 : likewise
    :n_embd=768 : likewise
    """
    runtime.start()
    import tensorflow as tf

    from gpt2.evaluation.score import Scorer
    from gpt2.model import model
    from gpt2.params import init_params

    hparams = HParams(n_vocab=50257, n_layer=n_layer, n_head=n_head, n_embd=n_embd)
    params = init_params(hparams, seed=0)
    random = np.random.default_rng(0)
    forward = tf.function(lambda X: model(params, hparams, X)['logits'], jit_compile=True)
    scorer = Scorer(params, hparams, batch_size)
    for kind, shape in KINDS.items():
        requests = list(make_requests(random, hparams.n_vocab, tokens, *shape))
        count = sum(len(context) + len(continuation) for context, continuation in requests)
        rows = random.integers(0, hparams.n_vocab, [batch_size, count // len(requests)], np.int32)
        plain = rows.size / fastest(lambda rows=rows: forward(rows)[0, 0, 0].numpy(), repeat)
        speed = count / fastest(lambda requests=requests: scorer.score(requests), repeat)
        print(
            f'{kind:17}{len(requests):4} requests of {rows.shape[1]:3} tokens: model() '
            f'{plain:6,.0f} tokens/s, the adapter {speed:6,.0f}, {speed / plain:.2f} times as many',
            flush=True,
        )


def make_requests(random, n_vocab, tokens, context_range, range_after, number):
    """Yield (context, continuation) of random ids, `number` for each context."""
    while tokens > 0:
        context = random.integers(0, n_vocab, random.integers(*context_range))
        for _ in range(number):
            continuation = random.integers(0, n_vocab, random.integers(*range_after))
            tokens -= len(context) + len(continuation)
            yield context, continuation


def fastest(task, repeat: int) -> float:
    """Seconds of the fastest of `repeat` calls, after one that traces and compiles."""
    task()
    seconds = []
    for _ in range(repeat):
        began = time.perf_counter()
        task()
        seconds.append(time.perf_counter() - began)
    return min(seconds)


if __name__ == '__main__':
    cli.run(benchmark)
