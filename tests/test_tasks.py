"""The worked examples of docs/tasks.md, on the demo model; and the script that asks for fields."""

import json
import re
import shlex
import shutil
import subprocess
import sys

import pytest

from conftest import DATA, ROOT
from gpt2.data.read_text import read_rows
from in_process import run_script

INTERACTIVE = 'interactive_conditional_samples.py'
PAGE = (ROOT / 'docs' / 'tasks.md').read_text('utf-8')
BLOCKS = re.findall(r'^```bash\n(.*?)^```$', PAGE, re.M | re.S)
COMMANDS = [line for block in BLOCKS for line in block.splitlines()]
ANSWER = next(line for line in COMMANDS if 'find_template' in line)
FIELDS = {'summaries': ['article', 'summary'], 'inference': ['premise', 'hypothesis', 'label']}


@pytest.fixture(scope='module', name='place')
def working_directory(tmp_path_factory):
    """With the rows where the page has them, and the runs of the page."""
    place = tmp_path_factory.mktemp('tasks')
    shutil.copytree(DATA / 'tasks', place / 'tests' / 'data' / 'tasks')
    for name in FIELDS:
        [command] = [line for line in COMMANDS if f'tasks/{name}' in line and 'train.py' in line]
        script, *argv = shlex.split(command)[1:]
        done = run_script(ROOT / script, argv, place)
        assert (done.returncode, done.stderr) == (0, ''), done.stderr
    return place


@pytest.mark.parametrize('name', FIELDS)
def test_an_example_of_the_page_learns_its_rows(place, monkeypatch, capsys, name):
    """As the page answers them from Python."""
    monkeypatch.chdir(place)
    code = shlex.split(ANSWER.replace('inference', name))[2]
    exec(code, {})
    *asked, generated = FIELDS[name]
    rows = [row for _, row in read_rows(DATA / 'tasks' / f'{name}.jsonl')]
    assert len(rows) == 20 and [list(row) for row in rows] == [[*asked, generated]] * 20
    assert capsys.readouterr().out.splitlines() == [row[generated] for row in rows]


def test_the_script_asks_for_one_field_after_another(place):
    """Those of the model's own template, without a value; or of another."""
    row = {'premise': 'The king sleeps.', 'hypothesis': 'The king is awake.'}
    argv = ['--model_name', 'checkpoint/inference', '--temperature', 0, '--length', 20]
    text = '{premise}<sep>{hypothesis}<nli>{label}</s>'
    typed = ''.join(f'{line}\n' for line in [*row.values(), '', 'Left alone.'])
    frame = '=' * 40 + ' SAMPLE 1 ' + '=' * 40
    asked = 'premise >>> hypothesis >>> '
    expected = f'{asked}{frame}\ncontradiction\n{"=" * 80}\npremise >>> {asked}\n'
    for flags in (['--template', *argv], ['--template', text, *argv]):
        done = run_script(ROOT / INTERACTIVE, flags, place, typed)
        assert (done.returncode, done.stderr, done.stdout) == (0, '', expected)


@pytest.mark.parametrize(
    'flags, sentence',
    [
        (['--template'], 'models/small has learnt no template; write one: --template'),
        (['--template', 'no field'], "--template 'no field' names no field; write one in braces"),
        (['--template', '{a}'], "the template '{a}' has no field to ask for before the one that"),
        (['--template', '{a}: {b}', '--prompt', 'c'], '--template asks for its fields; leave out'),
    ],
)
def test_mistakes(run, no_tensorflow, tmp_path, flags, sentence):
    shutil.copytree(ROOT / 'models' / 'demo', tmp_path / 'models' / 'small')
    done = run(INTERACTIVE, '--model_name', 'small', *flags)
    assert (done.returncode, done.stdout) == (2, '') and sentence in done.stderr


SETS = {
    'KorQuAD_v1.0_train.json': {
        'data': [
            {
                'title': '왕',
                'paragraphs': [
                    {
                        'context': '왕은 탑에서 잔다.',
                        'qas': [
                            {
                                'id': '1',
                                'question': '왕은 어디에서 자는가?',
                                'answers': [{'text': '탑', 'answer_start': 3}],
                            }
                        ],
                    }
                ],
            }
        ]
    },
    'klue-nli-v1.1_train.json': [
        {
            'guid': '1',
            'premise': '왕은 잔다.',
            'hypothesis': '왕은 깨어 있다.',
            'gold_label': 'contradiction',
        }
    ],
}


def test_real_sets_become_rows(tmp_path):
    """Files of their form, made up."""
    for name, content in SETS.items():
        (tmp_path / name).write_text(json.dumps(content, ensure_ascii=False), 'utf-8')
        [command] = [line for line in COMMANDS if name in line]
        command = command.replace('python', shlex.quote(sys.executable), 1)
        subprocess.run(['bash', '-c', command], cwd=tmp_path, check=True)
    rows = [[row for _, row in read_rows(tmp_path / f'{n}.jsonl')] for n in ('korquad', 'nli')]
    assert rows == [
        [{'context': '왕은 탑에서 잔다.', 'question': '왕은 어디에서 자는가?', 'answer': '탑'}],
        [{'premise': '왕은 잔다.', 'hypothesis': '왕은 깨어 있다.', 'label': 'contradiction'}],
    ]
