"""From process start to 32 sampled tokens on random checkpoints: seconds and MiB."""

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from shapes import SHAPES

from gpt2 import cli
from gpt2.errors import UserError
from gpt2.hparams import HParams

ROOT = Path(__file__).resolve().parent.parent


def benchmark(
    vocabulary: str,
    length: int = 32,
    repeat: int = 5,
    precisions: str = 'float32,bfloat16,int8',
    models: str = '124M',
):
    """
    Time generate_unconditional_samples.py, first where nothing compiled was kept, then where it was

    :vocabulary : Folder with GPT-2's encoder.json and vocab.bpe
    :length=32 : Tokens to sample
    :repeat=5 : How often; the median counts
    :precisions=float32,bfloat16,int8 : Types of the weights
    :models=124M : Shapes, of 124M,355M,774M,1558M
    """
    for name in models.split(','):
        if name not in SHAPES:
            raise UserError(f'--models is of {", ".join(SHAPES)}, not {name}')
    for name in models.split(','):
        with tempfile.TemporaryDirectory() as parent:
            write_model(Path(parent, 'random'), name, vocabulary)
            for precision in precisions.split(','):
                measure(name, parent, precision, length, repeat)


def write_model(folder: Path, name: str, vocabulary: str) -> None:
    """In a process of its own: what it holds of memory, its children would begin with."""
    folder.mkdir()
    for file in ('encoder.json', 'vocab.bpe'):
        shutil.copyfile(Path(vocabulary, file), folder / file)
    with ProcessPoolExecutor(1, get_context('spawn')) as pool:
        pool.submit(write_params, folder, name).result()


def write_params(folder: Path, name: str) -> None:
    from gpt2 import checkpoint
    from gpt2.params import init_params

    hparams = HParams(50257, 1024, *SHAPES[name])
    (folder / 'hparams.json').write_text(json.dumps(hparams.to_dict()))
    checkpoint.save_params(folder / 'model.ckpt', init_params(hparams, seed=0))


def measure(name: str, models: str, precision: str, length: int, repeat: int) -> None:
    """Print the seconds and the peak of both starts."""
    argv = [sys.executable, ROOT / 'generate_unconditional_samples.py', '--model_name', 'random']
    argv += ['--models_dir', models, '--nsamples', '1', '--length', str(length), '--top_k', '40']
    argv += ['--precision', precision]
    cache = Path(models, precision)
    for start in ('first', 'second'):
        figures = []
        for _ in range(repeat):
            if start == 'first':
                shutil.rmtree(cache, ignore_errors=True)
            figures.append(run(argv, os.environ | {'XDG_CACHE_HOME': str(cache)}))
        seconds, peak = map(statistics.median, zip(*figures, strict=True))
        print(
            f'{name}, {precision}, {start} start: {length} tokens after {seconds:.1f} s, '
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
