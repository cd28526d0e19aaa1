"""From process start to 32 sampled tokens on a random checkpoint of the 124M shape: s and MiB."""

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from gpt2 import checkpoint, cli
from gpt2.model import HParams
from gpt2.params import init_params

ROOT = Path(__file__).resolve().parent.parent


def benchmark(
    vocabulary: str, length: int = 32, repeat: int = 5, precisions: str = 'float32,bfloat16'
):
    """
    Time generate_unconditional_samples.py, first where nothing compiled was kept, then where it was

    :vocabulary : Folder with GPT-2's encoder.json and vocab.bpe
    :length=32 : Tokens to sample
    :repeat=5 : How often; the median counts
    :precisions=float32,bfloat16 : Types of the weights
    """
    hparams = HParams(n_vocab=50257)
    with tempfile.TemporaryDirectory() as models:
        folder = Path(models, 'random')
        folder.mkdir()
        for name in ('encoder.json', 'vocab.bpe'):
            shutil.copyfile(Path(vocabulary, name), folder / name)
        (folder / 'hparams.json').write_text(json.dumps(vars(hparams)))
        checkpoint.save_params(folder / 'model.ckpt', init_params(hparams, seed=0))
        script = [sys.executable, ROOT / 'generate_unconditional_samples.py']
        flags = ['--model_name', 'random', '--models_dir', models, '--nsamples', '1']
        flags += ['--length', str(length), '--top_k', '40']
        for precision in precisions.split(','):
            argv = [*script, *flags, '--precision', precision]
            for start in ('first', 'second'):
                cache = Path(models, precision)
                figures = []
                for _ in range(repeat):
                    if start == 'first':
                        shutil.rmtree(cache, ignore_errors=True)
                    figures.append(run(argv, os.environ | {'XDG_CACHE_HOME': str(cache)}))
                seconds, peak = map(statistics.median, zip(*figures, strict=True))
                print(
                    f'{precision}, {start} start: {length} tokens after {seconds:.1f} s, '
                    f'peak {peak:.0f} MiB (medians of {repeat})',
                    flush=True,
                )


def run(argv, environment) -> tuple[float, float]:
    """A process's seconds and its peak of memory in MiB."""
    began = time.perf_counter()
    process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, env=environment)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f'{argv} failed')
    return time.perf_counter() - began, usage.ru_maxrss / 1024


if __name__ == '__main__':
    cli.run(benchmark)
