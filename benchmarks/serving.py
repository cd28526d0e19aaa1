"""The server beside the sampler and beside other projects: the same requests, arriving at random.

At the shape of 124M, with random parameters, in float32, from an empty start.
"""

import asyncio
import contextlib
import importlib.util
import itertools
import json
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import httpx
import numpy as np
import peers

from gpt2 import checkpoint, cli, loading, sample
from gpt2.encoder import END_OF_TEXT, bytes_to_unicode
from gpt2.hparams import HParams
from gpt2.model_folder import CLONE
from gpt2.params import init_params

PLAIN = {'top_k': 40, 'seed': 0, 'ignore_eos': True}


class Asked(NamedTuple):
    """A request: when it comes, in seconds, its prompt and how many tokens it wants."""

    at: float
    prompt: list[int]
    length: int


class Answered(NamedTuple):
    """When its tokens came, in seconds from its own start, and the time at its end."""

    times: list[float]
    end: float


def write_model(folder: Path, hparams: HParams) -> None:
    """Random parameters, and a vocabulary of pairs of letters."""
    folder.mkdir()
    letters = list(bytes_to_unicode().values())
    pairs = itertools.islice(itertools.product(letters, letters), hparams.n_vocab - 257)
    merges = list(pairs)
    tokens = [*letters, *map(''.join, merges), END_OF_TEXT]
    (folder / 'encoder.json').write_text(json.dumps({t: i for i, t in enumerate(tokens)}))
    lines = ['#version: 0.2', *map(' '.join, merges), '']
    (folder / 'vocab.bpe').write_text('\n'.join(lines), encoding='utf-8')
    (folder / 'hparams.json').write_text(json.dumps(hparams.to_dict()))
    checkpoint.save_params(folder / 'model.ckpt', init_params(hparams, seed=0))


@contextlib.contextmanager
def server(models: Path, batch: int):
    """A server's address, from its start until it has ended."""
    flags = ['--model_name', 'random', '--models_dir', models, '--port', '0']
    command = [sys.executable, CLONE / 'serve.py', *flags, '--max_batch', str(batch)]
    began = time.perf_counter()
    process = subprocess.Popen(map(str, command), stderr=subprocess.PIPE, text=True)
    try:
        for line in process.stderr:
            if found := re.search(r'http://\S+', line):
                url = found[0]
            if line.strip() == 'ready':
                break
        show('the server is ready after', f'{time.perf_counter() - began:7.1f} s')
        yield url
    finally:
        process.terminate()
        process.wait()


async def ask(client, asked: Asked, began: float) -> Answered:
    """Send it when it is time, and note each of its tokens."""
    await asyncio.sleep(max(0, began + asked.at - time.perf_counter()))
    body = {'model': 'random', 'prompt': asked.prompt, 'max_tokens': asked.length, 'logprobs': 0}
    start, times = time.perf_counter(), []
    async with client.stream('POST', '/v1/completions', json=body | PLAIN | {'stream': True}) as r:
        async for line in r.aiter_lines():
            if line.startswith('data: {'):
                [choice] = json.loads(line[6:])['choices']
                now = time.perf_counter() - start
                times += [now] * len(choice['logprobs']['tokens'])
    assert len(times) == asked.length, (len(times), asked.length)
    return Answered(times, time.perf_counter())


def served(url: str, requests: list[Asked]) -> tuple[float, list[Answered]]:
    """Seconds from the first request to the end of the last one, and the answers."""

    async def all_of():
        limits = httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(base_url=url, timeout=None, limits=limits) as client:
            began = time.perf_counter()
            answers = await asyncio.gather(*(ask(client, asked, began) for asked in requests))
            return max(answer.end for answer in answers) - began, answers

    return asyncio.run(all_of())


def mixed(count: int, gap: float, n_vocab: int, shortest: int, longest: int) -> list[Asked]:
    """Requests of mixed lengths, about `gap` seconds apart."""
    random = np.random.default_rng(0)
    arrivals = np.cumsum(random.exponential(gap, count)) - gap
    return [
        Asked(
            at=max(0.0, at),
            prompt=random.integers(0, n_vocab - 1, random.integers(16, longest + 1)).tolist(),
            length=int(random.integers(shortest, longest + 1)),
        )
        for at in arrivals.tolist()
    ]


def first_tokens(url: str, requests: list[Asked], batch: int, longest: int) -> None:
    """How long a request that meets a busy server waits for its first token."""
    prompt = (requests[0].prompt * longest)[:longest]
    [idle] = served(url, [Asked(0, prompt, 4)])[1]
    own = idle.times[0] - statistics.median(np.diff(idle.times))
    running = [Asked(0, asked.prompt[:16], 3 * longest) for asked in requests[: batch - 1]]
    _, [*others, late] = served(url, [*running, Asked(own + 5, prompt, 4)])
    step = statistics.median(np.diff(np.concatenate([answer.times for answer in others[:1]])))
    steps = (late.times[0] - own) / step
    show('first token on a busy server', f'its own prompt {own:.3f} s, and {steps:.1f} steps')
    stall = max(np.diff(others[0].times)) / step
    show('the longest wait of those who run', f'{stall:.1f} steps of {1000 * step:.0f} ms')


def in_turns_speed(work: Callable[[], int], repeat: int) -> float:
    """Tokens per second, the median of some rounds after one to warm up."""
    speeds = []
    for _ in range(repeat + 1):
        began = time.perf_counter()
        speeds.append(work() / (time.perf_counter() - began))
    return statistics.median(speeds[1:])


def sampler(model, batch: int, prompt: int, length: int) -> Callable[[], int]:
    """sample_sequence, of which the work is so many tokens, after prompts of so many."""
    context = np.random.default_rng(1).integers(0, model.hparams.n_vocab - 1, [batch, prompt])

    def work() -> int:
        options = {'hparams': model.hparams, 'top_k': 40, 'seed': 0}
        sample.sample_sequence(model.params, context=context, length=length, **options)
        return batch * length

    return work


def with_transformers(peer, requests: list[Asked], batch: int) -> float:
    """Seconds of Transformers' generate for the same requests, `batch` side by side, padded."""
    import torch

    began = time.perf_counter()
    for start in range(0, len(requests), batch):
        some = requests[start : start + batch]
        n = max(len(asked.prompt) for asked in some)
        ids = torch.tensor([[0] * (n - len(asked.prompt)) + asked.prompt for asked in some])
        mask = torch.tensor([[0] * (n - len(a.prompt)) + [1] * len(a.prompt) for a in some])
        length = max(asked.length for asked in some)
        given = {'do_sample': True, 'top_k': 40, 'pad_token_id': 0, 'eos_token_id': None}
        peer.generate(ids, attention_mask=mask, max_new_tokens=length, **given)
    return time.perf_counter() - began


def with_llama(peer, requests: list[Asked]) -> float:
    """Seconds of llama.cpp for them, one after another, as its Python server takes them."""
    began = time.perf_counter()
    for asked in requests:
        peer.reset()
        tokens = peer.generate(asked.prompt, top_k=40, top_p=1.0, min_p=0.0, temp=1.0)
        assert len(list(itertools.islice(tokens, asked.length))) == asked.length
    return time.perf_counter() - began


def show(name: str, figures: str) -> None:
    print(f'{name:44}{figures}', flush=True)


def benchmark(
    requests: int = 32,
    gap: float = 0.5,
    shortest: int = 64,
    longest: int = 256,
    batch: int = 8,
    n_layer: int = 12,
    repeat: int = 3,
):
    """
    Time a server, then the sampler and every installed peer on the same requests

    :requests=32 : How many there are, of prompts of 16 to `longest` tokens
    :gap=0.5 : Seconds between two of them on average
    :shortest=64 : Tokens that one wants at least
    :longest=256 : And at most
    :batch=8 : Texts side by side
    :n_layer=12 : Blocks of the model; fewer try this script out
    :repeat=3 : Rounds of the sampler after a warm-up; the median counts
    """
    hparams = HParams(n_vocab=50257, n_layer=n_layer)
    asked = mixed(requests, gap, hparams.n_vocab, shortest, longest)
    total = sum(one.length for one in asked)
    with TemporaryDirectory() as folder:
        write_model(Path(folder, 'random'), hparams)
        with server(Path(folder), batch) as url:
            took, answers = served(url, asked)
            ours = total / took
            show(f'{requests} requests, the server', f'{ours:7.1f} tokens/s')
            waits = sorted(answer.times[0] for answer in answers)
            show(
                'their first tokens', f'{statistics.median(waits):7.2f} s, the last {waits[-1]:.2f}'
            )
            some = [one._replace(at=0) for one in asked[:batch]]
            alone = sum(served(url, [one])[0] for one in some)
            speed = sum(one.length for one in some) / alone
            show('one after another', f'{speed:7.1f} tokens/s; the server {ours / speed:.2f} times')
            first_tokens(url, asked, batch, longest)
            [streamed] = served(url, [Asked(0, asked[0].prompt[:16], longest)])[1]
            stream = (longest - 1) / (streamed.times[-1] - streamed.times[0])
        model = loading.load('random', folder, 'float32')
        prompt = sum(len(one.prompt) for one in asked) // requests
        full = in_turns_speed(sampler(model, batch, prompt, total // requests), repeat)
        what = f'sample_sequence, batch {batch}, of mean lengths'
        show(what, f'{full:7.1f} tokens/s; the server {ours / full:.2f}')
        single = in_turns_speed(sampler(model, 1, 16, longest), repeat)
        show('sample_sequence, batch 1', f'{single:7.1f} tokens/s; a stream {stream / single:.2f}')
        del model
        if importlib.util.find_spec('transformers'):
            params = checkpoint.load_params(Path(folder, 'random'), hparams)
            theirs = total / with_transformers(
                peers.transformers_model(params, hparams), asked, batch
            )
            show('Transformers, padded', f'{theirs:7.1f} tokens/s; ours {ours / theirs:.2f} times')
        if importlib.util.find_spec('llama_cpp'):
            peer = peers.llama_model(Path(folder, 'random'), hparams, 'float32')
            theirs = total / with_llama(peer, asked)
            show('llama.cpp, in turn', f'{theirs:7.1f} tokens/s; ours {ours / theirs:.2f} times')


if __name__ == '__main__':
    cli.run(benchmark)
