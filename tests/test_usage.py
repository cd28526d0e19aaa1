"""What --help prints."""

import re

import pytest

from conftest import ROOT
from gpt2 import usage

SCRIPTS = [path.name for path in ROOT.glob('*.py') if path.name != 'setup.py']
COMMANDS = {
    'classify.py': ['train', 'evaluate', 'predict', 'cloze'],
    'convert.py': ['from_huggingface', 'to_huggingface', 'to_saved_model'],
    'evaluate.py': ['perplexity', 'tasks', 'lambada'],
    'view.py': ['attention', 'predictions'],
}


def command(*words: str, rate: float = 0.5, name: str | None = None, seed: int = 0, other: int = 1):
    """
    Do something
    with words

    As here:
      python command.py   a b

    :words : What to do it with
    :name=None : In no group,
     of two lines

    Optimizer:
    :rate=0.5 : How fast: per step
    :seed
    """


PAGE = """\
Usage: python command.py WORDS ... [--flag value ...]

Do something with words

As here:
  python command.py   a b

  WORDS ...               What to do it with
  --name=None             In no group, of two lines
  --other=1

Optimizer:
  --rate=0.5              How fast: per step
  --seed=0"""


def test_a_page():
    assert usage.page(command, 'command.py', 80) == PAGE


def test_what_a_docstring_says():
    summary, entries = usage.read(command.__doc__)
    assert summary == 'Do something\nwith words\n\nAs here:\n  python command.py   a b'
    assert entries == {
        'words': ('', ':words : What to do it with'),
        'name': ('', ':name=None : In no group,\n of two lines'),
        'rate': ('Optimizer', ':rate=0.5 : How fast: per step'),
        'seed': ('Optimizer', ':seed'),
    }
    assert [usage.text_of(entry) for _, entry in entries.values()] == [
        'What to do it with',
        'In no group, of two lines',
        'How fast: per step',
        '',
    ]
    assert usage.read(None) == ('', {})


def test_a_group_before_all_others():
    def command(a: int, b: int = 1):
        """
        Do something:

        First:
        :a : The first

        Second:
        :b=1 : The second
        """

    assert usage.page(command, 'command.py', 80).split('\n\n')[1:] == [
        'Do something:',
        'First:\n  --a                     The first (needed)',
        'Second:\n  --b=1                   The second',
    ]


@pytest.mark.parametrize('columns', [40, 80, 200])
@pytest.mark.parametrize('script', SCRIPTS)
def test_fits_and_has_each_flag_once(run, no_tensorflow, monkeypatch, script, columns):
    monkeypatch.setenv('COLUMNS', str(columns))
    commands = COMMANDS.get(script, [])
    for argv in [[], *([name] for name in commands)]:
        done = run(script, *argv, '--help')
        assert (done.returncode, done.stderr) == (0, '')
        assert all(len(line) <= columns for line in done.stdout.splitlines())
        flags = re.findall(r'^  --(\w+)', done.stdout, re.M)
        assert len(flags) == len(set(flags)) and ('models_dir' in flags or commands and not argv)
        assert ' '.join(done.stdout.split()).startswith(' '.join(['Usage: python', script, *argv]))


def test_the_flags_of_a_sampler_stand_in_groups(run):
    for script in ('interactive_conditional_samples.py', 'generate_unconditional_samples.py'):
        groups = re.split(r'\n\n(?=[A-Z].*:\n  --)', run(script, '--help').stdout)
        heads = {group.split(':\n')[0]: group for group in groups[1:]}
        assert '--top_k=0 ' in heads['Drawing'] and '--num_beams=1 ' in heads['Beams']
        assert ('Prompts and files' in heads) == script.startswith('interactive')
    assert '--seed=None ' in groups[0] and 'Integer seed' in groups[0]
