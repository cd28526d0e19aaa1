"""Prompts from files, samples to files, also by processes that are killed on the way."""

import json
import shutil
import signal
import subprocess
import sys
import time

import pytest

import gpt2
from conftest import ROOT
from gpt2.errors import UserError
from gpt2.options import SamplingOptions
from gpt2.prompts import Samples, read_prompts, write_samples

SCRIPT = 'interactive_conditional_samples.py'
PROMPTS = [
    'ROMEO:',
    'JULIET:\nO Romeo',
    'First Citizen:\nBefore we proceed any further',
    'naïve 😀',
]


@pytest.fixture(scope='module')
def demo():
    return gpt2.load('demo', precision='float32')


def rows(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def same(path, other):
    """Whether two files hold the same samples: what is beside one changes its last bits alone."""
    found, expected = rows(path), rows(other)
    logs = [[row.pop('log_probability') for row in each] for each in (found, expected)]
    return found == expected and logs[0] == pytest.approx(logs[1], rel=1e-4)


def test_prompts_of_files(tmp_path):
    text = tmp_path / 'a.txt'
    text.write_text('one\n\n two \n', encoding='utf-8')
    assert read_prompts(text) == ['one', ' two ']
    table = tmp_path / 'a.csv'
    table.write_text('id,text\n1,"one\ntwo"\n2,three\n')
    assert read_prompts(table) == ['one\ntwo', 'three']
    assert read_prompts(table, column='id') == ['1', '2']
    lines = tmp_path / 'a.jsonl'
    lines.write_text(''.join(json.dumps({'text': prompt}) + '\n' for prompt in PROMPTS))
    assert read_prompts(str(lines)) == PROMPTS
    text.write_text('\n \n')
    with pytest.raises(UserError, match='a.txt holds no prompt; write one a line'):
        read_prompts(text)
    with pytest.raises(UserError, match='there is no file .*gone.txt; set --prompts to one'):
        read_prompts(tmp_path / 'gone.txt')


def test_a_line_for_each_sample(demo, tmp_path):
    """Ragged prompts side by side: each sample as alone."""
    path, options = tmp_path / 'a.jsonl', SamplingOptions(length=12, seed=5, stop=['.'])
    assert write_samples(demo, PROMPTS, options, 2, 3, path) == 8
    found = rows(path)
    assert [(row['number'], row['sample']) for row in found] == [
        (i, k) for i in (1, 2, 3, 4) for k in (1, 2)
    ]
    assert all(row['prompt'] == PROMPTS[row['number'] - 1] for row in found)
    assert {row['seed'] for row in found} == {5}
    for row in found:
        assert demo.enc.decode(row['tokens']).startswith(row['text'])
        assert row['ended'] in ('stop', 'length') and row['log_probability'] < 0
        assert (row['ended'] == 'length') == (len(row['tokens']) == 12 and '.' not in row['text'])
    for batch_size in (1, 8):
        other = tmp_path / f'{batch_size}.jsonl'
        write_samples(demo, PROMPTS, options, 2, batch_size, other)
        assert [row['text'] for row in rows(other)] == [row['text'] for row in found]


def test_the_most_probable_tokens(demo, tmp_path):
    path, options = tmp_path / 'a.jsonl', SamplingOptions(length=5, seed=1, logprobs=3)
    write_samples(demo, PROMPTS[:2], options, 1, 2, path)
    for row in rows(path):
        assert [len(best) for best in row['best']] == [3] * 5
        for best in row['best']:
            assert sorted(best, key=lambda pair: -pair[1]) == best
        places = zip(row['tokens'], row['best'], strict=True)
        known = [dict(map(tuple, best)).get(token, 0) for token, best in places]
        assert 0 > sum(known) >= row['log_probability'] - 1e-4


def test_what_is_there_is_not_made_again(demo, tmp_path, monkeypatch):
    path, options = tmp_path / 'a.jsonl', SamplingOptions(length=6)
    write_samples(demo, PROMPTS[:3], options, 1, 2, path)
    whole = tmp_path / 'whole.jsonl'
    shutil.copy(path, whole)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + lines[1][:40])  # as a killed process leaves it
    write_samples(demo, PROMPTS[:3], options, 1, 2, path)
    assert same(path, whole)  # with the first one's seed, which was any
    monkeypatch.setattr('gpt2.sample.generate', lambda *_, **__: pytest.fail('made again'))
    assert write_samples(demo, PROMPTS[:3], options, 1, 2, path) == 0
    assert same(path, whole)


@pytest.mark.parametrize(
    'content, sentence',
    [
        ('what somebody wrote', 'line 1 is no sample of these prompts; name another file'),
        ('{"number": 1}\n', 'line 1 is no sample'),
        ('[]\n', 'line 1 is no sample'),
        ('{"number": 1, "prompt": "other", "sample": 1, "seed": 1}\n', 'line 1 is no sample'),
        ('{"number": 9, "prompt": "ROMEO:", "sample": 1, "seed": 1}\n', 'line 1 is no sample'),
        (
            '{"number": 1, "prompt": "ROMEO:", "sample": 1, "seed": 7, "options": {}}\n',
            'the seed 7; leave out --s',
        ),
    ],
)
def test_other_files_stay_as_they_are(tmp_path, content, sentence):
    path = tmp_path / 'a.jsonl'
    path.write_text(content)
    with pytest.raises(UserError, match=sentence):
        Samples(path, PROMPTS, SamplingOptions(seed=1))
    assert path.read_text() == content


def test_a_prompt_that_is_too_long_is_found_before_any_is_made(demo, tmp_path):
    with pytest.raises(UserError, match='prompt 2 cannot be read: .* more than the 256 of the con'):
        write_samples(demo, ['a', 'to be ' * 300], SamplingOptions(length=3), 1, 1, tmp_path / 'a')
    assert not (tmp_path / 'a').exists()


def test_other_options_are_noticed(demo, tmp_path):
    path, options = tmp_path / 'a.jsonl', {'length': 3, 'seed': 1, 'logit_bias': {5: -1.0}}
    write_samples(demo, ['a'], SamplingOptions(**options), 1, 1, path)
    write_samples(demo, ['a'], SamplingOptions(**options), 1, 1, path)
    for other in ({'length': 4}, {'top_k': 4}, {'logit_bias': None}):
        with pytest.raises(UserError, match='a.jsonl has samples with the options {"length": 3, '):
            write_samples(demo, ['a'], SamplingOptions(**options | other), 2, 1, path)
    assert len(rows(path)) == 1


def test_beams_to_a_file(demo, tmp_path, monkeypatch):
    monkeypatch.setattr('gpt2.files.fcntl', None)  # as on Windows
    path, options = tmp_path / 'a.jsonl', SamplingOptions(length=8, num_beams=3)
    assert write_samples(demo, PROMPTS[:2], options, 2, 1, path) == 4
    found = rows(path)
    assert found[0]['log_probability'] >= found[1]['log_probability']
    assert [len(row['tokens']) for row in found] == [8] * 4


def test_beams_that_do_not_fit_are_found_before_any_is_made(demo, tmp_path):
    path, options = tmp_path / 'a.jsonl', SamplingOptions(length=100, num_beams=2)
    with pytest.raises(UserError, match='prompt 2 cannot be read: .* has no room for 100 more'):
        write_samples(demo, ['a', 'to be ' * 100], options, 1, 1, path)
    with pytest.raises(UserError, match='nsamples is from 1 to 2, not 3'):
        write_samples(demo, ['a'], options, 3, 1, path)
    assert not path.exists()


def test_killed_and_run_again(tmp_path, process):
    """Nothing is lost, nothing made twice, and the file is that of a process never killed."""
    prompts = tmp_path / 'prompts.txt'
    prompts.write_text(''.join(f'Scene {number}:\n' for number in range(40)))
    flags = ['--model_name=demo', '--prompts=prompts.txt', '--length=90', '--seed=3']
    flags += ['--batch_size=2', '--top_k=40']
    done = process(SCRIPT, *flags, '--output_path=whole.jsonl')
    assert (done.returncode, done.stdout, done.stderr) == (0, 'whole.jsonl: 40 new samples\n', '')
    path = tmp_path / 'killed.jsonl'
    for number, kill in enumerate((signal.SIGKILL, signal.SIGINT), start=1):
        command = [sys.executable, ROOT / SCRIPT, *flags, '--output_path=killed.jsonl']
        running = subprocess.Popen(
            command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        end = time.time() + 100
        while not path.exists() or path.read_bytes().count(b'\n') < 6 * number:
            assert time.time() < end and running.poll() is None
            time.sleep(0.01)
        running.send_signal(kill)
        _, errors = running.communicate()
        assert errors == b''
        assert 6 * number <= path.read_bytes().count(b'\n') < 40
    there = path.read_bytes().count(b'\n')
    done = process(SCRIPT, *flags, '--output_path=killed.jsonl')
    said = f'killed.jsonl: {40 - there} new samples\n'
    assert (done.returncode, done.stdout) == (0, said)
    assert same(path, tmp_path / 'whole.jsonl')


def test_prompts_to_the_terminal(run, tmp_path):
    (tmp_path / 'a.txt').write_text('ROMEO:\nJULIET:\n')
    flags = ['--model_name', 'demo', '--length', 8, '--seed', 1]
    done = run(SCRIPT, *flags, '--prompts', 'a.txt')
    assert (done.returncode, done.stderr) == (0, '')
    assert done.stdout.count('SAMPLE 1 ') == 2 and done.stdout.count('\n' + '=' * 80 + '\n') == 2
    one = run(SCRIPT, *flags, '--prompt', 'ROMEO:')
    assert done.stdout.startswith('Model prompt >>> ROMEO:\n' + one.stdout)
    assert 'Model prompt' not in one.stdout
    typed = run(SCRIPT, *flags, input='ROMEO:\n')
    assert typed.stdout.replace('Model prompt >>> ', '').strip() == one.stdout.strip()


def test_several_lines_after_three_quotes(run):
    flags = ['--model_name', 'demo', '--length', 8, '--seed', 1]
    typed = run(SCRIPT, *flags, input='"""JULIET:\nO Romeo\nRomeo"""\nROMEO:\n')
    assert typed.stdout.count('SAMPLE 1 ') == 2
    one = run(SCRIPT, *flags, '--prompt', 'JULIET:\nO Romeo\nRomeo')
    assert one.stdout.strip() in typed.stdout


@pytest.mark.parametrize(
    'args, sentence',
    [
        (['--prompt', 'a', '--prompts', 'b.txt'], '--prompt is one text, --prompts a file of some'),
        (['--prompts', 'gone.txt'], 'there is no file gone.txt; set --prompts to one with'),
        (['--output_path', 'a.jsonl'], '--output_path is for samples of --prompt or --prompts'),
        (['--prompt', 'a', '--output_path', 'gone/a.jsonl'], 'there is no folder gone for a.jsonl'),
        (['--prompt', 'a', '--output_path', 'a', '--nsamples', '0'], 'nsamples is at least 1, not'),
        (
            ['--prompt', 'a', '--num_beams', '2', '--nsamples', '3'],
            'nsamples is from 1 to 2, not 3',
        ),
        (['--stop', 'a', '--stop', 'b'], '--stop is given twice; a JSON list takes several'),
    ],
)
def test_mistakes(run, no_tensorflow, tmp_path, args, sentence):
    done = run(SCRIPT, '--model_name', 'demo', *args)
    assert (done.returncode, done.stdout) == (2, '') and sentence in done.stderr
    assert done.stderr.count('\n') == 1
    assert [path.name for path in tmp_path.iterdir()] == ['no_tensorflow']
