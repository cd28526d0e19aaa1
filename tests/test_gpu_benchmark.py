"""benchmarks/gpu.py, small and on the CPU, to its end."""

import json
import os
import shutil

import numpy as np

from conftest import DATA, ROOT

HIDDEN = os.environ | {'CUDA_VISIBLE_DEVICES': '-1'}
SMALL = '--n_layer=1 --n_embd=48 --n_head=4 --lengths=8 --batches=2 --steps=3'.split()

# As the script itself runs, but with what OpenAI's code gave from another folder.
DAMAGED = """
import sys
from pathlib import Path
sys.path.insert(0, {benchmarks!r})
import gpu
from gpt2 import cli
gpu.DATA = Path({data!r})
cli.run(gpu.benchmark)
"""


def states(done):
    """The checks of the last line, {name: state}, which say the same as the lines before."""
    first, *lines, _, last = done.stdout.splitlines()
    report = json.loads(last)
    assert first == 'no GPU: all checks run on the CPU, marked cpu' and report['device'] == 'cpu'
    assert [line.split()[:2] for line in lines] == [[x['state'], 'cpu'] for x in report['checks']]
    assert report['failed'] == [x['check'] for x in report['checks'] if x['state'] == 'FAIL']
    return {check['check']: check['state'] for check in report['checks']}


def test_every_check_is_ok_on_the_cpu(process):
    done = process('benchmarks/gpu.py', *SMALL, '--precisions=float32', env=HIDDEN)
    checks = states(done)
    assert done.returncode == 0, done.stdout + done.stderr
    copies = "float32: a prompt's copies to the card"
    assert checks.pop(copies) == 'n/a'  # there is no card: never ok
    assert set(checks.values()) == {'ok'} and len(checks) == 2 + 2 + 3 + 1 + 6 + 2 + 2 + 2


def test_what_is_wrong_fails_and_the_rest_is_run(process, tmp_path):
    data = tmp_path / 'data'
    shutil.copytree(DATA, data)
    arrays = dict(np.load(DATA / 'forward.npz'))
    arrays['logits'][1, 3, 7] += 0.01
    del arrays['logits_with_past']
    np.savez(data / 'forward.npz', **arrays)
    script = tmp_path / 'damaged.py'
    script.write_text(DAMAGED.format(benchmarks=str(ROOT / 'benchmarks'), data=str(data)))
    flags = ['--only=golden,precision,speed', '--precisions=float32,bfloat16']
    done = process(script, *SMALL, *flags, env=HIDDEN)
    assert done.returncode == 1
    first, second, *rest = states(done).values()
    assert (first, second) == ('FAIL', 'FAIL') and set(rest) == {'ok', 'n/a'} and len(rest) == 12
    assert 'difference 0.01 < 0.0001' in done.stdout and 'error KeyError' in done.stdout
