"""evaluate.py, run as a user runs it; LAMBADA from a real HTTP server on loopback."""

import hashlib
import importlib.util
import json
import math
import os
import re
import shutil
import signal
import sys

import pytest

from conftest import ROOT
from gpt2.evaluation.lambada import find_lambada
from server import serve  # noqa: F401  a fixture
from terminal import Terminal

TEXT = 'ROMEO:\nBut, soft! what light through yonder window breaks?\n' * 12
PASSAGES = [
    '“My lord,” said he, and then again: "My lord',
    'I had a king, and he was a good king. They took from me my king',
    'To be, or not to be. ' * 40 + 'That is the question',
]
CONTENT = '\n'.join(json.dumps({'text': text}) for text in PASSAGES).encode()


@pytest.fixture
def text(tmp_path):
    path = tmp_path / 'text.txt'
    path.write_text(TEXT)
    return path


def test_perplexity(process, run, text, tmp_path):
    flags = ['--model_name', 'demo', '--stride', 32, '--output_path', 'out.json']
    done = process('evaluate.py', 'perplexity', text.name, *flags)
    assert (done.returncode, done.stderr) == (0, '')
    result = json.loads((tmp_path / 'out.json').read_text())
    assert list(tmp_path.glob('.*')) == []
    shown = dict(re.split('  +', line) for line in done.stdout.splitlines())
    assert list(shown) == [name.replace('_', ' ') for name in result]
    assert shown['token perplexity'] == f'{result["token_perplexity"]:#.5g}'
    assert (result['words'], result['bytes']) == (len(TEXT.split()), len(TEXT))
    nats = result['loss'] * result['tokens']
    assert result['word_perplexity'] == pytest.approx(math.exp(nats / result['words']))
    assert result['bits_per_byte'] == pytest.approx(nats / math.log(2) / len(TEXT))
    assert run('evaluate.py', 'perplexity', text.name, *flags, '--precision=bfloat16').stderr == ''
    rounded = json.loads((tmp_path / 'out.json').read_text())
    assert 0 < abs(rounded['loss'] / result['loss'] - 1) < 0.01


@pytest.mark.parametrize(
    'argv, sentence',
    [
        (['perplexity'], 'no text is named; run: python evaluate.py perplexity FILE'),
        (['perplexity', 'no.txt', '--model_name', 'demo'], 'no.txt is no file, no folder'),
        (['perplexity', 'a', '--model_name', '355M'], 'no model .*; run: python download_model.py'),
        (['perplexity', 'a', '--model_name=demo', '--stride=0'], '--stride is from 1 to the n_ctx'),
        (['perplexity', 'a', '--model_name=demo', '--stride=257'], 'n_ctx of 256, not 257'),
        (['perplexity', 'a', '--model_name=demo', '--precision=int4'], '--precision is float32, b'),
        (['perplexity', 'a', '--batch_size', '0'], '--batch_size is at least 1, not 0'),
        (['perplexity', 'a', '--output_path', 'x/y.json'], 'no folder x for .*; run: mkdir x'),
        (
            ['perplexity', 'a', '--strid', '1'],
            r'did you mean --stride\?.* evaluate.py perplexity -',
        ),
        (
            ['perplexty', 'a'],
            r'no command perplexty \(did you mean perplexity\?\), but perplexity, ',
        ),
        (['tasks'], '--names is missing; run: python evaluate.py tasks --help'),
        (
            ['tasks', 'x', '--model_name=demo', '--num_fewshot=0,x'],
            '--num_fewshot is whole numbers',
        ),
        (['tasks', 'x', '--model_name=demo', '--num_fewshot=-1'], 'as in 0,1,5, not -1'),
        (['tasks', 'x', '--model_name=demo', '--limit=0'], '--limit is at least 1, not 0'),
        (
            ['tasks', 'x', '--model_name=demo', '--include_path=no'],
            'there is no folder no; set --i',
        ),
        (['lambada', '--model_name', 'none'], 'no model in models/none'),
        (['lambada', '--model_name', 'demo', '--limit', '-2'], '--limit is at least 1, not -2'),
    ],
)
def test_mistakes_before_tensorflow(run, no_tensorflow, argv, sentence):
    done = run('evaluate.py', *argv)
    assert (done.returncode, done.stdout) == (2, '')
    assert re.search(f'^evaluate.py: .*{sentence}', done.stderr) and done.stderr.count('\n') == 1


@pytest.mark.parametrize('content', ['keep', '{"n_vocab": 5}', '[]', '\x00'])
def test_a_result_replaces_results_alone(run, no_tensorflow, tmp_path, content):
    path = tmp_path / 'own.json'
    path.write_text(content)
    (tmp_path / 'text.txt').write_text('some text')
    flags = ['--model_name', 'demo', '--output_path', path]
    done = run('evaluate.py', 'perplexity', 'text.txt', *flags)
    sentence = 'own.json holds something else than a result; set --output_path elsewhere\n'
    assert (done.returncode, done.stdout) == (2, '') and done.stderr.endswith(sentence)
    assert path.read_text() == content


def test_a_mistake_costs_no_wait(process, no_tensorflow):
    done = process('evaluate.py', 'perplexity', 'a', '--batch_size', '0')
    assert (done.returncode, done.stdout) == (2, '')
    assert done.stderr == 'evaluate.py: --batch_size is at least 1, not 0\n'


def test_help_for_the_script_and_for_a_command(run):
    for argv in ([], ['--help']):
        done = run('evaluate.py', *argv)
        assert (done.returncode, done.stderr) == (0, '')
        assert all(name in done.stdout for name in ('perplexity', 'tasks', 'lambada'))
    done = run('evaluate.py', 'lambada', '--help')
    assert done.returncode == 0 and '--data_dir' in done.stdout and '--stride' not in done.stdout
    assert 'evaluate.py lambada' in done.stdout


def test_an_interrupt_is_quiet(text, tmp_path):
    text.write_text(TEXT * 5000)
    terminal = Terminal(
        ROOT / 'evaluate.py', 'perplexity', text, '--model_name', 'demo', cwd=tmp_path
    )
    terminal.wait_for(' windows')
    os.kill(terminal.pid, signal.SIGINT)
    assert terminal.end() == 130
    assert 'Traceback' not in terminal.text


def test_without_lm_eval(run, monkeypatch):
    monkeypatch.setitem(sys.modules, 'lm_eval', None)
    done = run('evaluate.py', 'tasks', 'wikitext', '--model_name', 'demo')
    assert (done.returncode, done.stdout) == (2, '')
    assert done.stderr == ("evaluate.py: lm-eval is not installed; run: pip install -e '.[eval]'\n")


@pytest.mark.skipif(not importlib.util.find_spec('lm_eval'), reason='lm-eval is not installed')
def test_tasks(process, tmp_path, monkeypatch):
    monkeypatch.setenv('HF_HOME', str(tmp_path / 'hf'))
    monkeypatch.setenv('HF_HUB_OFFLINE', '1')
    rows = [
        {'question': 'To be or not', 'choices': [' to be', ' night'], 'answer': i} for i in (0, 1)
    ]
    (tmp_path / 'rows.jsonl').write_text('\n'.join(map(json.dumps, rows)))
    # Its own code finds the package that has the name of our script.
    functions = (
        'import evaluate\n\ndef text(row):\n    return row["question"] * bool(evaluate.load)\n'
    )
    (tmp_path / 'functions.py').write_text(functions)
    (tmp_path / 'mine.yaml').write_text(
        'task: mine\ndataset_path: json\ndataset_kwargs: {data_files: {test: rows.jsonl}}\n'
        'test_split: test\nfewshot_split: test\noutput_type: multiple_choice\n'
        'doc_to_text: !function functions.text\ndoc_to_choice: choices\ndoc_to_target: answer\n'
        'metric_list: [{metric: acc}]\n'
    )
    flags = ['--include_path', '.', '--model_name', 'demo', '--output_path', 'out.json']
    done = process('evaluate.py', 'tasks', 'mine', '--num_fewshot', '0,1', *flags)
    assert (done.returncode, done.stderr) == (0, '')
    assert [line.split()[:4] for line in done.stdout.splitlines()[1:]] == [
        ['mine', shots, 'acc', '0.5000'] for shots in '01'
    ]
    result = json.loads((tmp_path / 'out.json').read_text())
    assert (result['model'], [run['num_fewshot'] for run in result['runs']]) == ('demo', [0, 1])
    assert result['runs'][1]['results']['mine']['acc,none'] == 0.5


@pytest.fixture
def lambada(run, server, monkeypatch):
    """Runs the script as a user does, but for the address, the size and the hash of the set."""
    server.files['/lambada_test.jsonl'] = CONTENT
    monkeypatch.setenv('GPT2_DATA_URL', server.url)
    monkeypatch.setattr('gpt2.evaluation.lambada.SIZE', len(CONTENT))
    monkeypatch.setattr('gpt2.evaluation.lambada.SHA256', hashlib.sha256(CONTENT).hexdigest())
    return lambda *argv: run('evaluate.py', 'lambada', '--model_name', 'demo', *argv)


def test_lambada(lambada, server, tmp_path):
    done = lambada('--output_path', 'out.json')
    assert done.returncode == 0, done.stderr
    assert re.fullmatch('1 of 3 contexts do not fit .* left out\n', done.stderr)
    result = json.loads((tmp_path / 'out.json').read_text())
    assert re.search(r'^passages +3$', done.stdout, re.M)
    assert (tmp_path / 'data' / 'lambada_test.jsonl').exists()
    assert result['last_word_accuracy'] <= result['last_token_accuracy']
    assert result['last_word_perplexity'] >= result['last_token_perplexity'] > 1
    assert len(server.gets()) == 1
    find_lambada(tmp_path / 'data', server.url, 'again')
    assert len(server.gets()) == 1  # what is there and whole is not fetched again


def test_lambada_that_cannot_be_fetched(lambada, server, tmp_path):
    place = ['--base_url', f'{server.url}/elsewhere']
    done = lambada(*place)
    assert (done.returncode, done.stdout) == (2, '')
    assert re.fullmatch(
        'evaluate.py: .*/lambada_test.jsonl answers 404 .* --base_url\n', done.stderr
    )
    shutil.rmtree(tmp_path / 'data', ignore_errors=True)
    (tmp_path / 'data').write_text('no folder')
    done = lambada()
    assert done.returncode == 2
    assert 'settled, run: python evaluate.py lambada --model_name demo\n' in done.stderr
