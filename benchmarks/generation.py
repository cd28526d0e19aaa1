"""What each way to generate costs beside plain sampling, and beside Transformers' own.

At the shape of 124M, with random parameters, in float32.
"""

import importlib.util
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import peers

from gpt2 import beam, checkpoint, cli, prompts, runtime, sample, weights
from gpt2.encoder import bytes_to_unicode
from gpt2.hparams import HParams
from gpt2.loading import Model
from gpt2.options import SamplingOptions
from gpt2.params import init_params

HPARAMS = HParams(n_vocab=50257)
PLAIN = {'seed': 0, 'top_k': 40}
WAYS = {
    'top_p': {'top_p': 0.9},
    'min_p': {'min_p': 0.05},
    'typical_p': {'typical_p': 0.9},
    'repetition_penalty': {'repetition_penalty': 1.2},
    'frequency_penalty': {'frequency_penalty': 0.5},
    'presence_penalty': {'presence_penalty': 0.5},
    'no_repeat_ngram_size': {'no_repeat_ngram_size': 3},
    'logit_bias': {'logit_bias': {50256: -100}},
    'logprobs': {'logprobs': 5},
}


class Letters:
    """In place of an encoder, which random parameters have no use for: a token is a letter."""

    end_of_text = 50256

    def encode(self, text: str) -> list[int]:
        return list(map(ord, text))

    def decode_in_pieces(self) -> Callable:
        letters = list(bytes_to_unicode().values())
        return lambda ids, final=False: ''.join(letters[i % 256] for i in ids)


def in_turns(works: dict[str, Callable], repeat: int) -> dict[str, float]:
    """The median of the seconds of each, after a round to warm up."""
    took = {name: [] for name in works}
    for _ in range(repeat + 1):
        for name, work in works.items():
            began = time.perf_counter()
            work()
            took[name].append(time.perf_counter() - began)
    return {name: statistics.median(times[1:]) for name, times in took.items()}


def show(name: str, figures: str) -> None:
    print(f'{name:44}{figures}', flush=True)


def generated(model: Model, contexts, length: int, **options) -> None:
    options = SamplingOptions(length=length, **options)
    for _ in sample.generate(model.params, model.hparams, contexts, options, pause=0.5):
        pass


def options(model: Model, length: int, repeat: int) -> None:
    """Each option's cost at batch 1."""
    context = np.random.default_rng(0).integers(0, 50256, [1, 8])
    works = {'plain': lambda: generated(model, context, length, **PLAIN)}
    for name, way in WAYS.items():
        works[name] = lambda way=way: generated(model, context, length, **PLAIN | way)
    took = in_turns(works, repeat)
    for name, seconds in took.items():
        show(name, f'{length / seconds:7.1f} tokens/s, {seconds / took["plain"]:.3f} times as long')


def beams(model: Model, peer, length: int, repeat: int) -> None:
    """Four beams beside four samples, and beside Transformers' four beams."""
    context = np.random.default_rng(1).integers(0, 50256, [8])
    searched = SamplingOptions(length=length, num_beams=4)
    works = {
        'four samples': lambda: generated(model, [context] * 4, length, **PLAIN),
        'four beams': lambda: beam.search(*model[:2], context, searched, None),
    }
    if peer:
        import torch

        ids = torch.from_numpy(context[None])
        given = {'attention_mask': torch.ones_like(ids), 'pad_token_id': 0, 'eos_token_id': None}
        works["Transformers' four beams"] = lambda: peer.generate(
            ids, num_beams=4, do_sample=False, max_new_tokens=length, **given
        )
    took = in_turns(works, repeat)
    for name, seconds in took.items():
        ratio = seconds / took['four beams']
        show(name, f'{4 * length / seconds:7.1f} tokens/s; beams are {ratio:.2f} times as fast')


def ragged(model: Model, peer, length: int, repeat: int) -> None:
    """64 prompts of 1 to 200 tokens from a file, eight side by side."""
    random = np.random.default_rng(2)
    texts = [
        ''.join(map(chr, random.integers(97, 123, n))) for n in random.integers(1, 200, 64).tolist()
    ]
    with TemporaryDirectory() as folder:
        file, numbers = Path(folder, 'prompts.txt'), iter(range(10**6))
        file.write_text('\n'.join(texts))

        def ours():
            given = prompts.read_prompts(file)
            out = Path(folder, f'{next(numbers)}.jsonl')
            asked = SamplingOptions(length=length, **PLAIN)
            assert prompts.write_samples(model, given, asked, 1, 8, out) == 64

        works = {'64 prompts from a file, ours': ours}
        if peer:
            works['64 prompts, Transformers, padded left'] = lambda: padded_left(
                peer, [model.enc.encode(text) for text in texts], length
            )
        took = in_turns(works, repeat)
    ours = took['64 prompts from a file, ours']
    for name, seconds in took.items():
        speed = 64 * length / seconds
        show(name, f'{speed:7.1f} tokens/s; ours is {seconds / ours:.2f} times as fast')


def padded_left(peer, rows: list[list[int]], length: int) -> None:
    import torch

    for start in range(0, len(rows), 8):
        batch = rows[start : start + 8]
        n = max(map(len, batch))
        ids = torch.tensor([[0] * (n - len(row)) + row for row in batch])
        mask = torch.tensor([[0] * (n - len(row)) + [1] * len(row) for row in batch])
        given = {'do_sample': True, 'top_k': 40, 'pad_token_id': 0, 'eos_token_id': None}
        peer.generate(ids, attention_mask=mask, max_new_tokens=length, **given)


def beyond(model: Model, repeat: int) -> None:
    """Tokens far beyond the context beside those within it."""
    works = {
        f'{n} tokens': lambda n=n: generated(model, [[50256]], n, **PLAIN) for n in (900, 3000)
    }
    took = in_turns(works, repeat)
    within, far = (took[f'{n} tokens'] / n for n in (900, 3000))
    show('900 tokens', f'{1 / within:7.1f} tokens/s')
    show('3000 tokens', f'{1 / far:7.1f} tokens/s, {far / within:.2f} times as long for each')


def benchmark(length: int = 128, repeat: int = 5, parts: str = 'options,beams,ragged,beyond'):
    """
    Time ways to generate, those of a part in turns

    :length=128 : Tokens after a prompt
    :repeat=5 : Rounds after a warm-up; the median counts
    :parts=options,beams,ragged,beyond : Which to time
    """
    runtime.start()
    peer = None
    with TemporaryDirectory() as folder:
        checkpoint.save_params(Path(folder, 'model.ckpt'), init_params(HPARAMS, seed=0))
        if importlib.util.find_spec('transformers') and {'beams', 'ragged'} & {*parts.split(',')}:
            peer = peers.transformers_model(checkpoint.load_params(folder, HPARAMS), HPARAMS)
        params = checkpoint.load_params(folder, HPARAMS, weights.for_sampling())
    model = Model(params, HPARAMS, Letters())
    for part in parts.split(','):
        if part == 'options':
            options(model, length, repeat)
        elif part == 'beams':
            beams(model, peer, length, repeat)
        elif part == 'ragged':
            ragged(model, peer, length, max(1, repeat // 2))
        elif part == 'beyond':
            beyond(model, max(1, repeat // 2))


if __name__ == '__main__':
    cli.run(benchmark)
