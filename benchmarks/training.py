#!/usr/bin/env python3
"""Training beside Transformers: tokens/s, peak memory and FLOP/s on a random model."""

import math
import os
import resource
import statistics
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import peers
from tqdm import tqdm

from gpt2 import cli, runtime
from gpt2.hparams import HParams

RATE = 1e-4
HEADER = (
    '| batch | precision | memory saving | tokens/s | of the first | Transformers | ratio '
    '| peak GB | Transformers | share of FLOP/s | Transformers |\n' + '|---' * 11 + '|'
)


def benchmark(
    batches: str = '1x1024,4x256',
    precisions: str = 'float32,bfloat16',
    saving: str = 'no,yes',
    repeat: int = 5,
    n_embd: int = 768,
    n_head: int = 12,
    n_layer: int = 12,
):
    """
    Train the same model on the same batches as train.py does and with Transformers, in turns

    :batches=1x1024,4x256 : Windows in a batch x tokens in a window; 1x1024x4 accumulates four
    :precisions=float32,bfloat16 : What to compute in; weights and Adam are float32
    :saving=no,yes : Without and with memory saving (gradient checkpointing)
    :repeat=5 : Steps to time; the median counts
    :n_embd=768 : The model's shape, if left out that of 124M
    :n_head=12 : likewise
    :n_layer=12 : likewise
    """
    hparams = HParams(50257, 1024, n_embd, n_head, n_layer)
    os.environ |= {'TF_CPP_MIN_LOG_LEVEL': '3', 'TRANSFORMERS_VERBOSITY': 'error'}
    with tempfile.TemporaryDirectory() as folder:
        with process() as one:
            count = one.submit(write_models, folder, hparams).result()
        limits, first = {}, {}
        for precision in precisions.split(','):
            with process() as one:
                limits[precision] = one.submit(product_rate, precision).result()
            print(f'{precision}: a large matrix product reaches {limits[precision] / 1e9:.0f} GF/s')
        print(HEADER)
        for batch in batches.split(','):
            for precision, limit in limits.items():
                for save in saving.split(','):
                    size, length, *accumulate = map(int, batch.split('x'))
                    shape = [*(accumulate or [1]), size, length]
                    flop = 6 * count + 12 * n_layer * n_embd * length  # for each token
                    sides = measure(folder, hparams, precision, save == 'yes', shape, repeat)
                    speeds = [math.prod(shape) / seconds for seconds, _ in sides]
                    # Where a step reaches more than the product did, that is what can be reached.
                    limit = max(limit, *(speed * flop for speed in speeds))
                    beside = speeds[0] / first.setdefault((precision, save), speeds[0])
                    cells = [batch, precision, save, f'{speeds[0]:.0f}', f'{beside:.2f}']
                    cells += [
                        f'{speeds[1]:.0f}',
                        f'{speeds[0] / speeds[1]:.2f}',
                        *(f'{peak:.2f}' for _, peak in sides),
                    ]
                    cells += [f'{speed * flop / limit:.0%}' for speed in speeds]
                    print('|', ' | '.join(cells), '|', flush=True)


def process(*initializer) -> ProcessPoolExecutor:
    """A process of its own, which knows its own peak memory."""
    start, *args = initializer or [None]
    return ProcessPoolExecutor(1, get_context('spawn'), start, tuple(args))


def measure(folder, hparams, precision, saving, shape, repeat) -> list[tuple]:
    """Ours and theirs: the median of a step's seconds, and the process's peak in GB.

    shape: of a step's tokens, [accumulate, batch, length].
    """
    random = np.random.default_rng(0)
    with process(ours, folder, hparams, precision, saving) as a:
        with process(theirs, folder, precision, saving) as b:
            seconds = {a: [], b: []}
            for number in tqdm(range(2 + repeat), 'Steps', leave=False, disable=None):
                tokens = random.integers(0, hparams.n_vocab, shape, np.int32)
                losses = []
                for side in (a, b):
                    took, loss = side.submit(timed_step, tokens, number).result()
                    losses.append(loss)
                    if number >= 2:  # the first compile
                        seconds[side].append(took)
                np.testing.assert_allclose(*losses, rtol=1e-4 if precision == 'float32' else 1e-2)
            return [
                (statistics.median(seconds[side]), side.submit(peak).result()) for side in (a, b)
            ]


def ours(folder, hparams, precision, saving) -> None:
    global step
    runtime.start(precision, training=True)
    import tensorflow as tf

    from gpt2 import checkpoint
    from gpt2.training import trainer as training

    params = checkpoint.load_params(folder, hparams)
    options = {'memory_saving_gradients': saving, 'precision': precision}
    trainer = training.Trainer(params, hparams, **options)

    def step(tokens, number):
        batches = tf.constant(tokens)
        return trainer.step(batches, batches, RATE, number)[0]


def theirs(folder, precision, saving) -> None:
    global step
    import torch
    import transformers

    rates = dict.fromkeys(('resid_pdrop', 'embd_pdrop', 'attn_pdrop'), 0.0)
    model = transformers.GPT2LMHeadModel.from_pretrained(
        Path(folder, 'transformers'), **rates
    ).train()
    if saving:
        model.gradient_checkpointing_enable()
    optimizer = torch.optim.Adam(model.parameters(), lr=RATE)
    low = precision != 'float32'

    def step(tokens, number):
        optimizer.zero_grad()
        total = 0
        for batch in torch.from_numpy(tokens).long():
            with torch.autocast('cpu', getattr(torch, precision) if low else None, enabled=low):
                loss = model(input_ids=batch, labels=batch).loss / len(tokens)
            loss.backward()
            total += loss.item()
        optimizer.step()
        return total


def timed_step(tokens, number: int) -> tuple[float, float]:
    began = time.perf_counter()
    loss = step(tokens, number)
    return time.perf_counter() - began, loss


def peak() -> float:
    """The most memory that this process ever held, in GB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def write_models(folder, hparams) -> int:
    """A random model, for both, in `folder`; returns the number of its parameters."""
    from gpt2 import checkpoint
    from gpt2.params import init_params

    params = init_params(hparams, seed=0)
    checkpoint.save_params(Path(folder, 'model.ckpt'), params)
    model = peers.transformers_model(params, hparams)
    model.save_pretrained(Path(folder, 'transformers'))
    return model.num_parameters()


def product_rate(precision: str, size: int = 4096) -> float:
    """The most FLOP/s of some matrix products."""
    import tensorflow as tf

    rates = []
    for columns in (768, 3072, size):
        a = tf.cast(tf.random.normal([size, columns]), precision)
        b = tf.cast(tf.random.normal([columns, size]), precision)
        for _ in range(8):
            began = time.perf_counter()
            tf.matmul(a, b)[0, 0].numpy()
            rates.append(2 * size * size * columns / (time.perf_counter() - began))
    return max(rates)


if __name__ == '__main__':
    cli.run(benchmark)
