"""The samplers, run as a user runs them."""

import importlib
import io
import os
import re
import signal
import subprocess
import sys
import time

import pytest

from conftest import ROOT, write_model
from gpt2.hparams import HParams
from terminal import Terminal

FRAME = '=' * 40 + ' SAMPLE {} ' + '=' * 40


def frames(text):
    """The numbers of the frames, and the samples between them."""
    parts = re.split('={40} SAMPLE ([0-9]+) ={40}\n', text)
    return [int(number) for number in parts[1::2]], parts[2::2]


def test_one_program_is_compiled_for_all_tokens(process, tmp_path):
    dump = '--xla_dump_to=dump --xla_dump_hlo_as_text --xla_dump_hlo_module_re=.*draw_chunk.*'
    env = os.environ | {'XLA_FLAGS': dump}
    args = ['--model_name', 'demo', '--nsamples', 2, '--length', 50]  # four chunks each
    done = process('generate_unconditional_samples.py', *args, env=env)
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / 'dump').glob('*.before_optimizations.txt'))) == 1


def test_unconditional_samples(process, run):
    args = ['--model_name', 'demo', '--nsamples', 3, '--length', 40, '--seed', 1, '--top_k', 40]
    done = process('generate_unconditional_samples.py', *args, '--batch_size', 2)
    assert (done.returncode, done.stderr) == (0, '')
    numbers, texts = frames(done.stdout)
    assert numbers == [1, 2, 3]
    assert done.stdout.startswith(FRAME.format(1) + '\n')
    assert len(set(texts)) == 3 and all(len(text) > 40 for text in texts)
    again = run('generate_unconditional_samples.py', *args)
    assert again.stdout == done.stdout


def test_samples_without_end_until_an_interrupt(tmp_path):
    script = ROOT / 'generate_unconditional_samples.py'
    process = subprocess.Popen(
        [sys.executable, script, '--model_name', 'demo', '--length', '8'],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
    )
    lines = []
    while not any('SAMPLE 5' in line for line in lines):
        lines.append(process.stdout.readline())
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (0, '')


def test_prompts_from_a_pipe(process):
    too_long = 'to be or not to be ' * 200
    done = process(
        'interactive_conditional_samples.py',
        *('--model_name', 'demo', '--nsamples', 2, '--length', 10, '--seed', 3),
        input=f'ROMEO:\n\n{too_long}\nnaïve 漢字\nROMEO:\n',
    )
    assert done.returncode == 0
    assert re.fullmatch(r'[0-9]+ tokens are more than the 256 of .*prompt\n', done.stderr)
    assert done.stdout.count('Model prompt >>> ') == 6
    numbers, texts = frames(done.stdout)
    assert numbers == [1, 2, 1, 2, 1, 2]
    assert (
        texts[1]
        .rstrip()
        .endswith('=' * 80 + '\nModel prompt >>> Model prompt >>> Model prompt >>>')
    )
    assert texts[0] == texts[4] and texts[0] != texts[1]


def test_a_length_left_out_is_cut_to_what_fits(run):
    done = run(
        'interactive_conditional_samples.py', '--model_name', 'demo', input='the ' * 250 + '\n'
    )
    assert (done.returncode, done.stderr) == (0, '')
    assert frames(done.stdout)[0] == [1]
    done = run(
        'interactive_conditional_samples.py',
        *('--model_name', 'demo', '--length', '100'),
        input='the ' * 250 + '\n',
    )
    assert 'has no room for 100 more; shorten the prompt or set --length to' in done.stderr


def test_functions_with_the_positions_of_the_original(tiny, monkeypatch, capsys):
    monkeypatch.syspath_prepend(ROOT)
    monkeypatch.setattr('sys.stdin', io.StringIO('hello\n'))
    interact_model = importlib.import_module('interactive_conditional_samples').interact_model
    interact_model('tiny', None, 1, 1, 5, 1, 0, 1, str(tiny.parent))
    assert frames(capsys.readouterr().out)[0] == [1]
    sample_model = importlib.import_module('generate_unconditional_samples').sample_model
    sample_model('tiny', None, 3, 2, 5, 1, 40, 0.9, str(tiny.parent))
    assert frames(capsys.readouterr().out)[0] == [1, 2, 3]


@pytest.mark.parametrize(
    'args, sentence',
    [
        (
            ['--model_name', '345M'],
            r'no model in models/345M \(there: .*demo.*\); run: python download_model.py 345M',
        ),
        (
            ['--model_name', 'nonsense'],
            r'no model in models/nonsense \(there: .*; set --model_name',
        ),
        (['--model_name', 'demo', '--length', '257'], 'length is from 1 to 256, not 257'),
        (['--model_name', 'demo', '--top_p', '2'], 'top_p is from 0 to 1'),
        (['--model_name', 'demo', '--precision', 'int8'], '--precision is float32, bfloat16 or f'),
        (['--model_name', 'demo', '--batch_size', '0'], 'batch_size is at least 1'),
        (['--model_name', 'demo', '--nsamples', '-1'], 'nsamples is at least 0'),
        (['--model', 'demo'], 'did you mean .*--model_name'),
    ],
)
@pytest.mark.parametrize(
    'script', ['interactive_conditional_samples.py', 'generate_unconditional_samples.py']
)
def test_mistakes_before_tensorflow(run, no_tensorflow, script, args, sentence):
    done = run(script, *args)
    assert (done.returncode, done.stdout) == (2, '')
    assert re.search(f'^{script}: .*{sentence}', done.stderr)
    assert done.stderr.count('\n') == 1


@pytest.mark.parametrize(
    'script', ['interactive_conditional_samples.py', 'generate_unconditional_samples.py']
)
def test_a_mistake_costs_no_wait(process, no_tensorflow, script):
    done = process(script, '--model_name', 'demo', '--length', '257')
    sentence = f'{script}: length is from 1 to 256, not 257; set --length to such a number\n'
    assert (done.returncode, done.stdout, done.stderr) == (2, '', sentence)


def test_a_session_at_a_terminal(tmp_path):
    prompt = 'Model prompt >>> '
    script = ROOT / 'interactive_conditional_samples.py'
    terminal = Terminal(
        script, '--model_name', 'demo', '--nsamples', '0', '--length', '20', cwd=tmp_path
    )
    terminal.wait_for('Loading TensorFlow ...')
    terminal.wait_for(prompt)
    terminal.type('JULIET\n')
    time.sleep(0.3)
    terminal.type('\x03')  # Ctrl-C while the sampler is being compiled
    terminal.wait_for(prompt, 2)
    terminal.type('JULIET:\n')
    terminal.wait_for('SAMPLE 3')
    terminal.type('\x03')  # and while it runs
    terminal.wait_for(prompt, 3)
    terminal.type('\x1b[A')  # the arrow up brings the last prompt back
    terminal.wait_for('JULIET:', 2)
    terminal.type('\n')
    terminal.wait_for('SAMPLE 1', 2)
    terminal.type('\x03')
    terminal.wait_for(prompt, 4)
    terminal.type('\x04')  # Ctrl-D
    assert terminal.end() == 0
    assert 'Traceback' not in terminal.text and 'oneDNN' not in terminal.text


def test_a_sample_appears_as_it_comes(tmp_path, process):
    """At a terminal, where one is asked for."""
    script = ROOT / 'interactive_conditional_samples.py'
    flags = ['--model_name', 'demo', '--length', '200', '--seed', '1']
    # First, for it keeps what it compiled: the terminal then need not be told to wait for that.
    piped = process(script, *flags, input='ROMEO:\n').stdout
    terminal = Terminal(script, *flags, cwd=tmp_path)
    prompt = 'Model prompt >>> '
    terminal.wait_for(prompt)
    terminal.type('ROMEO:\n')
    terminal.wait_for('=' * 80)
    shown = terminal.text.split('SAMPLE 1 ' + '=' * 40)[1].split('=' * 80)[0].strip()
    whole = piped.split('SAMPLE 1 ' + '=' * 40)[1].split('=' * 80)[0].strip()
    assert shown.replace('\r\n', '\n') == whole
    terminal.wait_for(prompt, 2)
    terminal.type('\x04')
    assert terminal.end() == 0


def test_ctrl_c_keeps_what_came(tmp_path):
    hparams = HParams(n_vocab=1024, n_ctx=30000, n_embd=32, n_head=2, n_layer=1)
    write_model(tmp_path / 'models' / 'long', hparams)
    script = ROOT / 'interactive_conditional_samples.py'
    # More tokens than are drawn before the key is heard.
    terminal = Terminal(script, '--model_name', 'long', '--length', '29000', cwd=tmp_path)
    prompt = 'Model prompt >>> '
    terminal.wait_for(prompt)
    terminal.type('ROMEO:\n')
    while len(terminal.text.partition(FRAME.format(1))[2]) < 100:
        terminal.read()
    terminal.type('\x03')
    terminal.wait_for(prompt, 2)
    assert '=' * 80 not in terminal.text
    terminal.type('\x04')
    assert terminal.end() == 0
