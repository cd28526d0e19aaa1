"""From process start to 32 sampled tokens on a random checkpoint of the 124M shape: s and MiB."""

import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from gpt2 import checkpoint, cli
from gpt2.model import HParams, init_params

ROOT = Path(__file__).resolve().parent.parent


def benchmark(vocabulary: str, length: int = 32, repeat: int = 5):
    """
    Time generate_unconditional_samples.py, with its imports, its load and its compilation

    :vocabulary : Folder with GPT-2's encoder.json and vocab.bpe
    :length=32 : Tokens to sample
    :repeat=5 : How often; the median counts
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
        seconds = []
        for _ in range(repeat):
            began = time.perf_counter()
            subprocess.run([*script, *flags], check=True, stdout=subprocess.DEVNULL)
            seconds.append(time.perf_counter() - began)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    median = sorted(seconds)[repeat // 2]
    print(f'{length} tokens after {median:.1f} s (median of {repeat}), peak {peak:.0f} MiB')


if __name__ == '__main__':
    cli.run(benchmark)
