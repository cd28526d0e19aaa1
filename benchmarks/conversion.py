#!/usr/bin/env python3
"""What importing and exporting a random model costs, and whether it stays the same model.

Seconds stand beside those of copying its bytes, memory beside its weights. Where torch and
transformers are installed, logits are compared with theirs.
"""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from gpt2 import cli
from gpt2.encoder import bytes_to_unicode
from gpt2.errors import UserError

VOCABULARIES = {'124M': 50257, 'distilgpt2': 50257, 'KoGPT-2': 51200}
COMMANDS = {  # and the folder that they make
    'import': ('huggingface.from_huggingface(Path("hf"), Path("models/own"))', 'models/own'),
    'export': ('huggingface.to_huggingface(gpt2.find("own"), Path("out"))', 'out'),
    'SavedModel': ('saved_model.to_saved_model(gpt2.find("own"), Path("saved"))', 'saved'),
    'load': ('gpt2.load("own")', ''),
}
MEASURE = """
import re, time
from pathlib import Path
import gpt2
from gpt2 import runtime
runtime.start()
from gpt2 import checkpoint, sample
from gpt2.formats import huggingface, saved_model, tensors
peak = lambda: int(re.search('VmHWM:\\s+(\\d+)', Path('/proc/self/status').read_text())[1]) * 1024
before, began = peak(), time.perf_counter()
{command}
print(time.perf_counter() - began, peak() - before)
"""


def conversion(shape: str = '124M'):
    """
    Import, export and load a random model

    :shape=124M : String, 124M, distilgpt2 or KoGPT-2
    """
    if shape not in VOCABULARIES:
        raise UserError(f'--shape is one of {", ".join(VOCABULARIES)}, not {shape}')
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        write_model(VOCABULARIES[shape], n_layer=6 if shape == 'distilgpt2' else 12)
        weights = Path('hf/model.safetensors')
        size = weights.stat().st_size
        copies = [seconds_of_copy(weights) for _ in range(3)]
        print(f'{"copy":12}{min(copies):6.2f} s')
        for name, (command, made) in COMMANDS.items():
            seconds, peak = measure(command, made)
            print(
                f'{name:12}{seconds:6.2f} s  {seconds / min(copies):5.2f} times the copy  ', end=''
            )
            print(f'{peak / size:5.2f} times the weights in memory')
        saved = sum(path.stat().st_size for path in Path('saved').rglob('*') if path.is_file())
        print(f'SavedModel: {saved / size:.3f} times the weights on the disk')
        compare()


def write_model(n_vocab: int, n_layer: int) -> None:
    """A Hugging Face folder `hf`, with random biases, too."""
    from safetensors.numpy import save_file

    n = 768
    sizes = {'vocab_size': n_vocab, 'n_positions': 1024, 'n_embd': n, 'n_layer': n_layer}
    shapes = {'wte.weight': [n_vocab, n], 'wpe.weight': [1024, n]}
    shapes |= {'ln_f.weight': [n], 'ln_f.bias': [n]}
    for layer in range(n_layer):
        for name, before, after in (
            ('attn.c_attn', n, 3 * n),
            ('attn.c_proj', n, n),
            ('mlp.c_fc', n, 4 * n),
            ('mlp.c_proj', 4 * n, n),
        ):
            shapes[f'h.{layer}.{name}.weight'] = [before, after]
            shapes[f'h.{layer}.{name}.bias'] = [after]
        for name in ('ln_1', 'ln_2'):
            shapes |= {f'h.{layer}.{name}.{end}': [n] for end in ('weight', 'bias')}
    random = np.random.default_rng(0)
    tensors = {
        name: random.standard_normal(shape, np.float32) * np.float32(0.02) + ('ln_' in name)
        for name, shape in shapes.items()
    }
    os.makedirs('hf')
    save_file({name: x.astype(np.float32) for name, x in tensors.items()}, 'hf/model.safetensors')
    config = {'model_type': 'gpt2', 'n_head': 12} | sizes
    Path('hf/config.json').write_text(json.dumps(config))
    letters = list(bytes_to_unicode().values())
    pairs = [(a, b) for a in letters for b in letters][: n_vocab - 257]
    tokens = [*letters, *map(''.join, pairs), '<|endoftext|>']
    Path('hf/vocab.json').write_text(json.dumps({token: i for i, token in enumerate(tokens)}))
    Path('hf/merges.txt').write_text('\n'.join(map(' '.join, pairs)), 'utf-8')


def seconds_of_copy(path: Path) -> float:
    """Of reading a file and writing it, until the disk holds it."""
    began = time.perf_counter()
    with open(path, 'rb') as source, open('copy', 'wb') as target:
        shutil.copyfileobj(source, target, 2**24)
        target.flush()
        os.fsync(target.fileno())
    return time.perf_counter() - began


def measure(command: str, made: str) -> tuple[float, float]:
    """Seconds, the least of three times, and bytes of memory beyond TensorFlow's own, the most."""
    code, found = MEASURE.format(command=command), []
    for _ in range(3):
        if made:
            shutil.rmtree(made, ignore_errors=True)
        done = subprocess.run([sys.executable, '-c', code], check=True, stdout=subprocess.PIPE)
        found.append(list(map(float, done.stdout.split())))
    seconds, peaks = zip(*found, strict=True)
    return min(seconds), max(peaks)


def compare() -> None:
    """Tensors there and back, and logits of 300 random tokens beside Transformers'."""
    from safetensors.numpy import load_file

    import gpt2

    first, last = load_file('hf/model.safetensors'), load_file('out/model.safetensors')
    same = all((last[f'transformer.{name}'] == x).all() for name, x in first.items())
    print(f'{len(first)} tensors there and back: {"bit for bit" if same else "other"}')
    if not all(map(importlib.util.find_spec, ('torch', 'transformers'))):
        print('torch and transformers are not installed: no logits to compare with')
        return
    model = gpt2.load('own')
    ids = np.random.default_rng(0).integers(0, model.hparams.n_vocab, 300)
    found = model.logits(ids)
    import torch
    from transformers import AutoModelForCausalLM

    theirs = AutoModelForCausalLM.from_pretrained('out', attn_implementation='eager')
    with torch.no_grad():
        expected = theirs(torch.tensor(ids[None])).logits[0].numpy()
    print(f'largest difference of a logit, of {np.abs(expected).max():.1f} at most: ', end='')
    print(f'{np.abs(found - expected).max():.1e}')


if __name__ == '__main__':
    cli.run(conversion)
