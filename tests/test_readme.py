"""README.md and docs: their commands, run as they stand, print what stands below them; and what
they say of flags and files is so."""

import ast
import functools
import importlib.util
import inspect
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from unittest import mock

import pytest

from conftest import ROOT
from gpt2 import cli, releases
from server import serve  # noqa: F401  a fixture

README = ROOT / 'README.md'
DOCS = sorted(ROOT.glob('docs/*.md'))
PAGES = [README, *DOCS]
FILES, EVALUATION, SAMPLING, TRAINING = (
    ROOT / 'docs' / f'{name}.md' for name in ('files', 'evaluation', 'sampling', 'training')
)
ROWS = ROOT / 'tests' / 'data' / 'tasks'  # which docs/tasks.md learns from
# Its examples talk to a server: tests/serving/test_docs.py runs them.
SERVING = ROOT / 'docs' / 'serving.md'


def blocks(page, language):
    return re.findall(rf'^```{language}\n(.*?)^```$', page.read_text('utf-8'), re.M | re.S)


def commands(page):
    """[command, its output] for each line after a `$ `."""
    return [
        part.split('\n', 1)
        for block in blocks(page, 'console')
        for part in re.split(r'^\$ ', block, flags=re.M)[1:]
    ]


def of_page(page):
    return page.name


@pytest.fixture
def clone(tmp_path):
    """What a user has cloned, and `python` as in the activated environment."""
    for path in [*ROOT.glob('*.py'), ROOT / 'LICENSE', ROOT / 'models' / 'demo', ROWS]:
        target = tmp_path / path.relative_to(ROOT)
        (shutil.copytree if path.is_dir() else shutil.copy)(path, target)
    return tmp_path


def shell(command, cwd):
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ['PATH']])
    return subprocess.run(
        ['bash', '-c', command],
        cwd=cwd,
        env=os.environ | {'PATH': path},
        capture_output=True,
        text=True,
        encoding='utf-8',
        timeout=300,
    )


# Commands


@pytest.mark.parametrize('page', [p for p in PAGES if commands(p) and p != SERVING], ids=of_page)
def test_commands_print_what_the_page_shows(clone, page):
    """One after another, as a reader runs them: later ones use what earlier ones made."""
    for command, output in commands(page):
        if 'download' not in command:
            done = shell(command, clone)
            assert (done.returncode, done.stderr) == (0, ''), command
            assert steady(done.stdout) == steady(output), command


def steady(text):
    """Without the seconds of a training."""
    return re.sub(r'\| \d+\.\d\d\]', '| ...]', text)


@pytest.mark.parametrize('command, output', [c for c in commands(README) if 'download' in c[0]])
def test_download(clone, server, monkeypatch, capsys, command, output):
    """From a server here, whose files stand for OpenAI's."""
    for path, content in list(server.files.items()):
        server.files[path.replace('774M', '124M')] = content
    monkeypatch.chdir(clone)
    monkeypatch.setattr(releases, 'KNOWN', dict.fromkeys(releases.KNOWN, {}))
    monkeypatch.setenv('GPT2_MODELS_URL', server.url)
    words = command.split()
    assert words[:2] == ['python', 'download_model.py']
    releases.download(words[2:], beside=clone / words[1], out=sys.stdout)
    assert capsys.readouterr().out == output


@pytest.mark.parametrize(
    'page', [p for p in PAGES if blocks(p, 'python') and p != SERVING], ids=of_page
)
def test_python_example_prints_what_the_page_shows(clone, page):
    """All of a page are one program; a line of its own tells their outputs apart."""
    codes, outputs = blocks(page, 'python'), blocks(page, 'text')
    program = "\nprint('=' * 90)\n".join(codes)
    (clone / 'example.py').write_text(program, encoding='utf-8')
    done = shell('python example.py', clone)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split('=' * 90 + '\n') == outputs


def test_the_recipe_of_a_model_from_scratch(clone):
    """As it stands, but for few steps and batches."""
    text = 'To be, or not to be: that is the question. ' * 50
    for name in ('train.txt', 'held.txt'):
        (clone / name).write_text(text)
    [recipe] = [block for block in blocks(TRAINING, 'bash') if 'scratch' in block]
    for command in recipe.splitlines():
        command = re.sub('(max_steps|val_every|n_vocab|batch_size) [0-9]+', r'\1 2', command)
        command = command.replace('n_vocab 2', 'n_vocab 260')
        done = shell(command.replace('--val_every', '--val_batch_count 2 --val_every'), clone)
        assert (done.returncode, done.stderr) == (0, ''), command
    assert (clone / 'checkpoint' / 'shakespeare' / 'best' / 'model-2.index').exists()


def test_set_up_commands_are_those_that_ci_runs():
    assert [len(block.splitlines()) for block in blocks(README, 'sh')] == [1, 1]
    run, test = blocks(README, 'sh')
    assert 'generate_unconditional_samples.py --model_name demo' in run
    assert 'pytest' in test
    assert "'/^```sh$/,/^```$/" in (ROOT / '.ci' / 'run').read_text()


# Flags


@functools.cache
def script_commands(script):
    """{name: function} of what a script gives to cli.run; some benchmarks import others."""
    spec = importlib.util.spec_from_file_location(f'{Path(script).stem}_script', ROOT / script)
    module = importlib.util.module_from_spec(spec)
    path = [str((ROOT / script).parent), *sys.path]
    with mock.patch.object(sys, 'path', path), mock.patch.dict(os.environ):
        spec.loader.exec_module(module)
    names = re.search(r'cli\.run\((.*)\)', (ROOT / script).read_text('utf-8'))[1].split(', ')
    return {name: getattr(module, name) for name in names}


QUOTED = '\'[^\']*\'|"[^"]*"'  # in which a | is a letter


def calls(page):
    """(script, words after it) of each command of this repository, in a block or in the text."""
    text = page.read_text('utf-8')
    fenced = r'^```.*?^```$'
    lines = [line for block in re.findall(fenced, text, re.M | re.S) for line in block.splitlines()]
    lines += re.findall(r'`(python [^`]+)`', re.sub(fenced, '', text, flags=re.M | re.S))
    for line in lines:
        if call := re.search(rf'\bpython (\S+\.py)((?:{QUOTED}|[^|&>])*)', line, re.S):
            yield call[1], shlex.split(call[2])


@pytest.mark.parametrize('page', PAGES, ids=of_page)
def test_scripts_understand_every_command(page):
    """Also those that need OpenAI's weights, or the network."""
    for script, argv in calls(page):
        if '--help' not in argv:
            named = script_commands(script)
            command = named[argv.pop(0)] if len(named) > 1 else next(iter(named.values()))
            cli.parse_flags(command, argv, script)


def test_the_tasks_of_our_own_folder_are_there():
    recipes = [argv for _, argv in calls(EVALUATION) if '--include_path tasks' in ' '.join(argv)]
    assert len(recipes) == 3
    for _, names, *_ in recipes:
        for name in names.split(','):
            assert (ROOT / 'tasks' / f'{name}.yaml').exists()


def flag_table(page):
    """(names, defaults, the cells after them) of each row."""
    table = re.search(r'^\| flag \|.*?\n\|-.*?\n(.*?)^$', page.read_text('utf-8'), re.M | re.S)[1]
    for row in table.splitlines():
        flags, told, *rest = (cell.strip() for cell in row.strip('|').split('|'))
        yield re.findall(r'`(\w+)`', flags), told.split(', '), rest


def check_defaults(row, command):
    names, told, _ = row
    for name, text in zip(names, told, strict=False):
        default = inspect.signature(command).parameters[name].default
        if default in (None, inspect.Parameter.empty):
            assert text in ('', 'none', 'n_ctx', 'n_ctx / 2', "the task's", "OpenAI's"), name
        else:
            assert (text if isinstance(default, str) else ast.literal_eval(text)) == default, name


def test_flags_are_those_of_the_samplers(run):
    rows = list(flag_table(SAMPLING))
    both = [row for row in rows if not row[2][0].startswith('*prompts*')]
    for script, told in {
        'interactive_conditional_samples.py': rows,
        'generate_unconditional_samples.py': both,
    }.items():
        flags = [name for names, *_ in told for name in names]
        [command] = script_commands(script).values()
        assert list(inspect.signature(command).parameters) == flags
        shown = re.findall(r'^  --([a-z_]+)=', run(script, '--help').stdout, re.M)
        assert sorted(shown) == sorted(flags)  # in groups
    for row in rows:
        check_defaults(row, script_commands('interactive_conditional_samples.py')['interact_model'])


def test_flags_of_training():
    for row in flag_table(TRAINING):
        check_defaults(row, script_commands('train.py')['train'])


def test_flags_of_evaluation():
    named = script_commands('evaluate.py')
    told = {name: set() for name in named}
    for row in flag_table(EVALUATION):
        of = row[2][0]
        for name in named if of == 'all' else of.split(', '):
            check_defaults(row, named[name])
            told[name] |= set(row[0])
    for name, command in named.items():
        parameters = inspect.signature(command).parameters
        assert told[name] == {name for name, p in parameters.items() if p.default is not p.empty}


# Files


def test_every_file_of_the_tour_is_there():
    named = re.findall(r'`([\w/]+(?:/|\.py))`', FILES.read_text('utf-8'))
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_every_module_is_in_the_tour():
    rows = re.findall(r'^\| `([\w/]+(?:/|\.py))` \|', FILES.read_text('utf-8'), re.M)
    there = [*ROOT.glob('*.py'), *ROOT.glob('src/**/*.py')]
    there = {str(p.relative_to(ROOT)) for p in there if p.name not in ('__init__.py', 'setup.py')}
    assert there - set(rows) == set()


def test_the_picture_of_the_tree():
    picture = re.search(r'^## The tree\n\n```\n(.*?)^```$', README.read_text(), re.M | re.S)[1]
    folder = ROOT
    for line in picture.splitlines():
        name = line.split()[0]
        path = (folder if line[0] == ' ' else ROOT) / name
        assert path.exists(), name
        folder = path if line[0] != ' ' else folder


def test_links_lead_somewhere():
    for page in PAGES:
        for target in re.findall(r'\]\(([^)]+)\)', page.read_text('utf-8')):
            assert target.startswith('https://') or (page.parent / target).exists(), target
    assert {f'](docs/{page.name})' in README.read_text('utf-8') for page in DOCS} == {True}


def test_the_readme_is_short():
    assert len(README.read_text('utf-8').splitlines()) < 200
