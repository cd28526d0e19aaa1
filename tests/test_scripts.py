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
from gpt2.errors import UserError
from gpt2.hparams import HParams
from terminal import Terminal

MARKER = 'Model prompt >>> '
UNCONDITIONAL = 'generate_unconditional_samples.py'
FRAME = '=' * 40 + ' SAMPLE {} ' + '=' * 40


def frames(text):
    """The numbers of the frames, and the samples between them."""
    parts = re.split('={40} SAMPLE ([0-9]+) ={40}\n', text)
    return [int(number) for number in parts[1::2]], parts[2::2]


def test_one_program_is_compiled_for_all_tokens(process, tmp_path):
    dump = '--xla_dump_to=dump --xla_dump_hlo_as_text --xla_dump_hlo_module_re=.*feed.*'
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
    assert done.returncode == 1  # one had no answer
    assert re.fullmatch(r'[0-9]+ tokens are more than the 256 of .*prompt\n', done.stderr)
    assert done.stdout.count(MARKER) == 6
    numbers, texts = frames(done.stdout)
    assert numbers == [1, 2, 1, 2, 1, 2]
    assert (
        texts[1]
        .rstrip()
        .endswith('=' * 80 + '\nModel prompt >>> Model prompt >>> Model prompt >>>')
    )
    assert texts[0] == texts[4] and texts[0] != texts[1]


def test_a_long_prompt_goes_on_beyond_the_context(run):
    script, long = 'interactive_conditional_samples.py', 'the ' * 250 + '\n'
    done = run(script, '--model_name', 'demo', '--top_k', 1, input=long)
    assert (done.returncode, done.stderr) == (0, '')
    [number], [text] = frames(done.stdout)
    assert number == 1 and len(text) > 128  # half of the context, in tokens


def test_functions_with_the_positions_of_the_original(tiny, monkeypatch, capsys):
    monkeypatch.syspath_prepend(ROOT)
    monkeypatch.setattr('sys.stdin', io.StringIO('hello\n'))
    interact_model = importlib.import_module('interactive_conditional_samples').interact_model
    interact_model('tiny', None, 1, None, 5, 1, 0, 1, str(tiny.parent))
    assert frames(capsys.readouterr().out)[0] == [1]
    sample_model = importlib.import_module('generate_unconditional_samples').sample_model
    sample_model('tiny', None, 3, 2, 5, 1, 40, 0.9, str(tiny.parent))
    assert frames(capsys.readouterr().out)[0] == [1, 2, 3]
    monkeypatch.setenv('HOME', str(tiny.parent.parent))
    monkeypatch.setenv('NAME', tiny.parent.name)
    sample_model('tiny', None, 1, None, 5, models_dir='~/$NAME')
    assert frames(capsys.readouterr().out)[0] == [1]
    for model in (interact_model, sample_model):  # before there was a top_p
        with pytest.raises(UserError, match="models_dir is the ninth argument: models_dir='m'"):
            model('tiny', None, 1, 1, 5, 1, 0, 'm')


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
        (['--model_name', 'demo', '--length', '0'], 'length is from 1 to 10000000, not 0'),
        (['--model_name', 'demo', '--keep', '256'], 'keep is from 1 to 255, not 256'),
        (['--model_name', 'demo', '--logit_bias', '{"9999": 1}'], 'logit_bias names the id 9999'),
        (['--model_name', 'demo', '--logit_bias', 'x'], '--logit_bias is no JSON'),
        (['--model_name', 'demo', '--stop', '["a", 1]'], 'stop is a text or several'),
        (['--model_name', 'demo', '--early_stopping', 'soon'], 'False, True or never, not .soon'),
        (['--model_name', 'demo', '--num_beams', '4', '--top_k', '4'], 'leave out --top_k'),
        (['--model_name', 'demo', '--top_p', '2'], 'top_p is from 0 to 1'),
        (['--model_name', 'demo', '--precision', 'int4'], '--precision is float32, bfloat16, f'),
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
    done = process(script, '--model_name', 'demo', '--length', '0')
    sentence = f'{script}: length is from 1 to 10000000, not 0; set --length to such a number\n'
    assert (done.returncode, done.stdout, done.stderr) == (2, '', sentence)


def test_a_session_at_a_terminal(tmp_path):
    script = ROOT / 'interactive_conditional_samples.py'
    terminal = Terminal(
        script, '--model_name', 'demo', '--nsamples', '0', '--length', '20', cwd=tmp_path
    )
    terminal.wait_for('Loading TensorFlow ...')
    terminal.wait_for(MARKER)
    terminal.type('JULIET\n')
    terminal.wait_for('JULIET\r\n')
    time.sleep(0.3)
    terminal.type('\x03')  # Ctrl-C while the sampler is being compiled
    terminal.wait_for(MARKER, 2)
    terminal.type('JULIET:\n')
    terminal.wait_for('SAMPLE 3')
    terminal.type('\x03')  # and while it runs
    terminal.wait_for(MARKER, 3)
    terminal.type('\x1b[A')  # the arrow up brings the last prompt back
    terminal.wait_for('JULIET:', 2)
    terminal.type('\n')
    terminal.wait_for('SAMPLE 1', 2)
    terminal.type('\x03')
    terminal.wait_for(MARKER, 4)
    terminal.type('\x04')  # Ctrl-D
    assert terminal.end() == 0
    assert 'Traceback' not in terminal.text and 'oneDNN' not in terminal.text


@pytest.mark.parametrize(
    'script, samples',
    [('interactive_conditional_samples.py', 1), (UNCONDITIONAL, 1), (UNCONDITIONAL, 2)],
)
def test_a_sample_appears_as_it_comes(tmp_path, process, script, samples):
    """At a terminal, where one is made at a time: the same text, sample after sample."""
    flags = ['--model_name', 'demo', '--length', '100', '--seed', '1', '--nsamples', samples]
    # First, for it keeps what it compiled: the terminal then need not be told to wait for that.
    piped = process(script, *flags, input='ROMEO:\n').stdout
    terminal = Terminal(ROOT / script, *flags, cwd=tmp_path)
    if script != UNCONDITIONAL:
        terminal.wait_for(MARKER)
        terminal.type('ROMEO:\n')
        terminal.wait_for(MARKER, 2)
        terminal.type('\x04')
    assert terminal.end() == 0
    shown = frames(terminal.text.replace('\r\n', '\n').replace('\x1b[?2004h', ''))
    numbers, texts = frames(piped)
    assert shown[0] == numbers == [*range(1, samples + 1)]
    assert [text.split('=' * 80)[0].strip() for text in shown[1]] == [
        text.split('=' * 80)[0].strip() for text in texts
    ]


@pytest.mark.parametrize(
    'script, nsamples, code',
    [('interactive_conditional_samples.py', 1, 0), (UNCONDITIONAL, 2, 130), (UNCONDITIONAL, 0, 0)],
)
def test_ctrl_c_keeps_what_came(tmp_path, script, nsamples, code):
    hparams = HParams(n_vocab=1024, n_ctx=30000, n_embd=32, n_head=2, n_layer=1)
    write_model(tmp_path / 'models' / 'long', hparams)
    # More tokens than are drawn before the key is heard.
    flags = ['--model_name', 'long', '--length', '29000', '--nsamples', nsamples]
    terminal = Terminal(ROOT / script, *flags, cwd=tmp_path)
    if script != UNCONDITIONAL:
        terminal.wait_for(MARKER)
        terminal.type('ROMEO:\n')
    while len(terminal.text.partition(FRAME.format(1))[2]) < 100:
        terminal.read()
    terminal.type('\x03')
    if script != UNCONDITIONAL:
        terminal.wait_for(MARKER, 2)
        terminal.type('\x04')
    assert terminal.end() == code
    assert '=' * 80 not in terminal.text and terminal.text.endswith('\r\n')


def test_the_options_of_a_session(tmp_path, process):
    script, flags = ROOT / 'interactive_conditional_samples.py', ['--model_name', 'demo']
    wanted = process(script, *flags, '--length', '12', '--seed', '5', input='ROMEO:\n').stdout
    terminal = Terminal(script, *flags, cwd=tmp_path, columns=60)
    terminal.wait_for(MARKER)
    terminal.type(':set\n')
    terminal.wait_for('length                128')
    terminal.type(':set length 0\n')
    terminal.wait_for('length is from 1 to 10000000, not 0; :set length to such a number')
    terminal.type(':set length 12\n:set seed 5\n')
    terminal.wait_for('seed 5\r\n')
    terminal.type('ROMEO:\n')
    terminal.wait_for('=' * 60 + '\r\n')
    terminal.type(':quit\n')
    assert terminal.end() == 0
    title = ' SAMPLE 1 '.center(60, '=')
    text = terminal.text.replace('\r\n', '\n').partition(title)[2].partition('=' * 60)[0]
    assert text.strip() == frames(wanted)[1][0].partition('=' * 80)[0].strip()


def test_samples_are_saved_without_the_marker(tmp_path, process):
    script = ROOT / 'interactive_conditional_samples.py'
    flags = ['--model_name', 'demo', '--length', '12', '--seed', '5']
    wanted = process(script, *flags, input='ROMEO:\n').stdout
    terminal = Terminal(script, *flags, cwd=tmp_path, columns=60, saved=tmp_path / 'saved.txt')
    terminal.wait_for(MARKER)
    terminal.type('ROMEO:\n')
    terminal.wait_for(MARKER, 2)
    terminal.type('\x04')
    assert terminal.end() == 0
    assert (tmp_path / 'saved.txt').read_text('utf-8') == wanted.replace(MARKER, '').rstrip(
        '\n'
    ) + '\n'


def test_a_colon_in_a_pipe_is_text(run):
    flags = ['--model_name', 'demo', '--length', '8', '--seed', '1']
    done = run('interactive_conditional_samples.py', *flags, input=':set\n:quit\nROMEO:\n')
    assert (done.returncode, done.stderr) == (0, '')
    assert frames(done.stdout)[0] == [1, 1, 1]
