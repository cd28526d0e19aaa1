"""Tokens per second beside other projects: the same random weights, prompts and lengths."""

import dataclasses
import functools
import importlib.util
import itertools
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import peers
import tensorflow as tf
from shapes import SHAPES

from gpt2 import checkpoint, cli, runtime, sample, weights
from gpt2.model import HParams
from gpt2.params import init_params

SEED = 0
BYTES = {'float32': 4, 'bfloat16': 2, 'int8': 1}  # of a weight
ONE_TEXT = ('llama_cpp',)  # its Python binding makes no batches


def ours(folder: Path, hparams: HParams, precision: str) -> Callable:
    params = checkpoint.load_params(folder, hparams, weights.for_sampling(precision))

    def generate(context, length):
        options = {'hparams': hparams, 'top_k': 40, 'seed': SEED}
        return sample.sample_sequence(params, context=context, length=length, **options).numpy()

    return generate


def transformers(folder: Path, hparams: HParams, precision: str) -> Callable | None:
    import torch

    if precision == 'int8':
        return None
    peer = peers.transformers_model(checkpoint.load_params(folder, hparams), hparams)
    peer = peer.to(getattr(torch, precision))

    def generate(context, length):
        options = {'do_sample': True, 'top_k': 40, 'pad_token_id': 0}
        ids = torch.from_numpy(context.astype(np.int64))
        with torch.no_grad():
            return peer.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=length,
                min_new_tokens=length,
                **options,
            ).numpy()

    return generate


def ctranslate2(folder: Path, hparams: HParams, precision: str) -> Callable | None:
    from ctranslate2 import get_supported_compute_types

    if precision not in get_supported_compute_types('cpu'):
        return None
    peer, tokens = peers.ctranslate2_model(folder, hparams, precision)

    def generate(context, length):
        prompts = [[tokens[i] for i in row] for row in context]
        options = {'max_length': length, 'min_length': length, 'sampling_topk': 40}
        results = peer.generate_batch(prompts, include_prompt_in_result=False, **options)
        return np.concatenate([context, [result.sequences_ids[0] for result in results]], axis=1)

    return generate


def llama_cpp(folder: Path, hparams: HParams, precision: str) -> Callable:
    peer = peers.llama_model(folder, hparams, precision)

    def generate(context, length):
        peer.reset()
        tokens = peer.generate(context[0].tolist(), top_k=40, top_p=1.0, min_p=0.0, temp=1.0)
        return np.append(context[0], list(itertools.islice(tokens, length)))

    return generate


def bandwidth() -> float:
    """Bytes per second at which this machine sums up 1 GiB, on all its cores."""
    x = tf.ones([2**18, 2**10])
    read = tf.function(lambda x, y: tf.matmul(x, y, transpose_b=True), jit_compile=True)
    y = tf.ones([1, 2**10])
    return 2**30 / min(seconds(lambda: read(y, x).numpy()) for _ in range(5))


def seconds(work: Callable) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def benchmark(
    lengths: str = '128,1000',
    batches: str = '1,8',
    precisions: str = 'float32,bfloat16,int8',
    models: str = '124M,355M,1558M',
    layers: int | None = 6,
    repeat: int = 5,
    output: str = 'sampling.md',
):
    """
    Time ours and every installed peer in turns, and write a Markdown table

    :lengths=128,1000 : Tokens to sample after a prompt of 8
    :batches=1,8 : Texts side by side
    :precisions=float32,bfloat16,int8 : Types of the weights
    :models=124M,355M,1558M : Shapes, 774M too; those after 124M at the first length and batch
    :layers=6 : Of those after 124M, as each costs the same; None for all they have
    :repeat=5 : Rounds after a warm-up; the median counts
    :output=sampling.md : The table's file
    """
    runtime.start()  # before XLA is first used
    engines = {'ours': ours}
    engines |= {
        name.__name__: name
        for name in (transformers, ctranslate2, llama_cpp)
        if importlib.util.find_spec(name.__name__)
    }
    limit = bandwidth()
    lines = [
        f'Memory: {limit / 1e9:.1f} GB/s. Tokens per second; seconds to the first of one token.',
        '',
        f'| model | precision | batch | prompt | tokens | limit | {" | ".join(engines)}'
        f' | of {" | of ".join(precisions.split(","))} |',
        '|---|---|---|---|---|---|' + '---|' * (len(engines) + len(precisions.split(','))),
    ]
    print('\n'.join(lines), flush=True)
    cases = [(int(b), 8, int(n)) for b in batches.split(',') for n in lengths.split(',')]
    for name in models.split(','):
        chosen = cases + [(1, n, 1) for n in (32, 128, 512, 514)] if name == '124M' else cases[:1]
        with tempfile.TemporaryDirectory() as folder:
            hparams = HParams(50257, 1024, *SHAPES[name])
            if layers and name != '124M':
                hparams = dataclasses.replace(hparams, n_layer=layers)
            params = init_params(hparams, seed=SEED)
            size = sum(int(tf.size(x)) for x in tf.nest.flatten(params))
            checkpoint.save_params(Path(folder, 'model.ckpt'), params)
            del params
            before = {}  # seconds of ours, by case and precision
            for precision in precisions.split(','):
                made = {x: make(Path(folder), hparams, precision) for x, make in engines.items()}
                for batch, prompt, length in chosen:
                    medians = measure(made, batch, prompt, length, repeat)
                    read = size * BYTES[precision]
                    figures = [f'{batch * limit / read:.1f}' if length > 1 else '']
                    figures += [figure(medians, x, batch, length) for x in engines]
                    ours_by = before.setdefault((batch, prompt, length), {})
                    ours_by[precision] = medians['ours']
                    figures += [
                        f'{ours_by[x] / medians["ours"]:.2f}x' if x in ours_by else ''
                        for x in precisions.split(',')
                    ]
                    row = [name, precision, batch, prompt, length, *figures]
                    lines.append('| ' + ' | '.join(map(str, row)) + ' |')
                    print(lines[-1], flush=True)
    Path(output).write_text('\n'.join(lines) + '\n', encoding='utf-8')


def measure(made: dict, batch: int, prompt: int, length: int, repeat: int) -> dict[str, float]:
    """Each engine's median of seconds, in turns."""
    context = np.random.default_rng(SEED).integers(0, 50256, [batch, prompt], np.int32)
    took = {x: [] for x, run in made.items() if run and (batch == 1 or x not in ONE_TEXT)}
    for _ in range(repeat + 1):
        for x in took:
            took[x].append(seconds(functools.partial(made[x], context, length)))
    return {x: statistics.median(times[1:]) for x, times in took.items()}


def figure(medians: dict, engine: str, batch: int, length: int) -> str:
    """An engine's figure, and how many times as fast as it ours is."""
    if engine not in medians:
        return ''
    shown = batch * length / medians[engine] if length > 1 else medians[engine]
    ratio = medians[engine] / medians['ours']
    return f'{shown:.{1 if length > 1 else 3}f} ({ratio:.2f}x)'


if __name__ == '__main__':
    cli.run(benchmark)
