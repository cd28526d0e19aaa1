"""The README's commands, run as they stand, print what stands below them."""

import importlib.util
import inspect
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import ROOT
from gpt2 import cli, releases
from server import serve  # noqa: F401  a fixture

README = (ROOT / 'README.md').read_text('utf-8')


def blocks(language):
    return re.findall(rf'^```{language}\n(.*?)^```$', README, re.M | re.S)


def commands():
    """[command, its output] for each line after a `$ `."""
    for block in blocks('console'):
        for part in block.split('$ ')[1:]:
            yield part.split('\n', 1)


@pytest.fixture
def clone(tmp_path):
    """What a user has cloned, and `python` as in the activated environment."""
    for path in [*ROOT.glob('*.py'), ROOT / 'LICENSE', ROOT / 'models' / 'demo']:
        target = tmp_path / path.relative_to(ROOT)
        (shutil.copytree if path.is_dir() else shutil.copy)(path, target)
    return tmp_path


def shell(command, cwd, **env):
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ['PATH']])
    return subprocess.run(
        ['bash', '-c', command],
        cwd=cwd,
        env=os.environ | {'PATH': path} | env,
        capture_output=True,
        text=True,
        encoding='utf-8',
        timeout=300,
    )


def test_commands_print_what_the_readme_shows(clone):
    """One after another, as a reader runs them: later ones use what earlier ones made."""
    for command, output in commands():
        if 'download' not in command:
            done = shell(command, clone)
            assert (done.returncode, done.stderr) == (0, ''), command
            assert steady(done.stdout) == steady(output), command


def steady(text):
    """Without the seconds of a training."""
    return re.sub(r'\| \d+\.\d\d\]', '| ...]', text)


def test_the_recipe_of_a_model_from_scratch(clone):
    """As it stands, but for few steps."""
    text = 'To be, or not to be: that is the question. ' * 50
    for name in ('train.txt', 'held.txt'):
        (clone / name).write_text(text)
    [recipe] = [block for block in blocks('bash') if 'train.py' in block]
    for command in recipe.splitlines():
        command = re.sub('(max_steps|val_every|n_vocab|batch_size) [0-9]+', r'\1 2', command)
        done = shell(command.replace('n_vocab 2', 'n_vocab 260'), clone)
        assert (done.returncode, done.stderr) == (0, ''), command
    assert (clone / 'checkpoint' / 'shakespeare' / 'best' / 'model-2.index').exists()


def test_the_recipes_of_evaluations_are_understood():
    """Their flags, and that the tasks of our own folder are there; they need weights and data."""
    spec = importlib.util.spec_from_file_location('evaluate_script', ROOT / 'evaluate.py')
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    recipes = re.findall(r'^python evaluate.py (.*)$', '\n'.join(blocks('bash')), re.M)
    assert len(recipes) == 9
    for recipe in recipes:
        command, *argv = shlex.split(recipe)
        args, _ = cli.parse_flags(getattr(script, command), argv)
        options = dict(zip(inspect.signature(script.tasks).parameters, args, strict=False))
        if command == 'tasks' and options['include_path'] == 'tasks':
            for name in options['names'].split(','):
                assert (ROOT / 'tasks' / f'{name}.yaml').exists()


@pytest.mark.parametrize('command, output', [c for c in commands() if 'download' in c[0]])
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


@pytest.mark.parametrize('code, output', list(zip(blocks('python'), blocks('text'), strict=True)))
def test_python_example_prints_what_the_readme_shows(clone, code, output):
    (clone / 'example.py').write_text(code, encoding='utf-8')
    done = shell('python example.py', clone, TF_CPP_MIN_LOG_LEVEL='3')
    assert (done.returncode, done.stdout) == (0, output)


def test_set_up_commands_are_those_that_ci_runs():
    assert [len(block.splitlines()) for block in blocks('sh')] == [1, 1]
    run, test = blocks('sh')
    assert 'generate_unconditional_samples.py --model_name demo' in run
    assert 'pytest' in test
    assert "'/^```sh$/,/^```$/" in (ROOT / '.ci' / 'run').read_text()


def test_every_file_of_the_tour_is_there():
    for path in re.findall(r'^\| `([^` ]+(?:/|\.py))` \|', README, re.M):
        assert (ROOT / path).exists(), path
    for path in [*ROOT.glob('*.py'), *ROOT.glob('src/*.py')]:
        name = str(path.relative_to(ROOT))
        assert f'`{name}`' in README or name in ('setup.py', 'src/__init__.py')


def test_flags_are_those_of_the_samplers(run):
    flags = re.findall(r'^\| `([a-z_]+)` \| [^|]+ \| ', README, re.M)[:10]
    for script in ('interactive_conditional_samples.py', 'generate_unconditional_samples.py'):
        told = re.findall(r'^ +(?:-., )?--([a-z_]+)=', run(script, '--help').stderr, re.M)
        assert told == flags
