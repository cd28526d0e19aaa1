#!/usr/bin/env python3
"""Memory of the training step as XLA compiles it for a GPU: its own buffer assignment, on a CPU."""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from gpt2 import cli, runtime
from gpt2.hparams import HParams

FLAGS = ['--xla_dump_hlo_as_text', '--xla_dump_hlo_module_re=.*_step.*']


def benchmark(
    precisions: str = 'float32,bfloat16',
    saving: str = 'no,yes',
    length: int = 1024,
    n_vocab: int = 50257,
    n_embd: int = 768,
    n_head: int = 12,
    n_layer: int = 12,
):
    """
    Compile a training step as for a GPU, and say what it holds beside parameters and Adam

    :precisions=float32,bfloat16 : What to compute in
    :saving=no,yes : Without and with memory_saving_gradients
    :length=1024 : Tokens in the one window of the batch
    :n_vocab=50257 : The model's shape, if left out that of 124M
    :n_embd=768 : The model's width
    :n_head=12 : Its heads
    :n_layer=12 : Its blocks
    """
    print('| precision | memory saving | temporary MiB | of which [positions, n_vocab] |')
    print('|---|---|---|---|')
    for precision in precisions.split(','):
        for save in saving.split(','):
            with tempfile.TemporaryDirectory() as folder:
                flags = ' '.join([f'--xla_dump_to={folder}', *FLAGS])
                argv = [sys.executable, __file__, 'compiled', precision, save]
                argv += map(str, (n_vocab, length, n_embd, n_head, n_layer))
                subprocess.run(argv, check=True, env=os.environ | {'XLA_FLAGS': flags})
                temporary, slices = read_assignment(folder, n_vocab)
            print(f'| {precision} | {save} | {temporary / 2**20:.0f} | {slices} |', flush=True)


def compile_step(precision: str, save: str, *shape: str) -> None:
    """Compile one step, without running it; XLA writes what it does into its dump."""
    runtime.start(precision, training=True)
    import tensorflow as tf

    from gpt2.params import init_params
    from gpt2.training import trainer as training

    training.on_gpu = lambda: True
    hparams = HParams(*map(int, shape))
    options = {'memory_saving_gradients': save == 'yes', 'precision': precision}
    trainer = training.Trainer(init_params(hparams, seed=0), hparams, **options)
    batch = tf.zeros([1, 1, hparams.n_ctx], tf.int32)
    args = [batch, batch, tf.constant(1e-4), tf.constant(0, tf.int64), tf.constant(0.0)]
    trainer.compiled_step.experimental_get_compiler_ir(*args)(stage='optimized_hlo')


def read_assignment(folder, n_vocab: int) -> tuple[int, int]:
    """Bytes of the temporary buffer, and how many places in it hold [positions, n_vocab]."""
    [path] = Path(folder).glob('*buffer-assignment.txt')
    text = path.read_text()
    [block] = re.findall(r'^allocation [^\n]*preallocated-temp:\n(?: [^\n]*\n)*', text, re.M)
    places = set(re.findall(rf'offset=(\d+)\): \w+\[\d+,{n_vocab}\]', block))
    return int(re.search(r'size (\d+)', block)[1]), len(places)


if __name__ == '__main__':
    if sys.argv[1:2] == ['compiled']:
        compile_step(*sys.argv[2:])
    else:
        cli.run(benchmark)
