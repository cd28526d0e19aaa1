"""The package, built as a wheel and installed somewhere else."""

import ast
import os
import re
import shutil
import subprocess
import sys

import pytest

import gpt2
from conftest import ROOT


@pytest.fixture
def site(tmp_path):
    """Where a wheel of this repository is installed."""
    pytest.importorskip('setuptools')
    source, wheels, site = (tmp_path / name for name in ('source', 'wheels', 'site'))
    shutil.copytree(ROOT / 'src', source / 'src')
    for path in [*ROOT.glob('*.py'), *ROOT.glob('*.toml'), ROOT / 'README.md', ROOT / 'LICENSE']:
        shutil.copy(path, source)
    pip = [sys.executable, '-m', 'pip', '--quiet', '--disable-pip-version-check']
    build = ['wheel', '--no-deps', '--no-build-isolation', '--no-index', '-w', wheels, source]
    subprocess.run([*pip, *build], check=True, capture_output=True)
    [wheel] = wheels.iterdir()
    install = ['install', '--no-deps', '--no-index', '--target', site, wheel]
    subprocess.run([*pip, *install], check=True, capture_output=True)
    return site


def test_requirements_are_those_of_the_package_and_it_itself():
    lines = (ROOT / 'requirements.txt').read_text('utf-8').splitlines()
    assert [line for line in lines if not line.startswith('#')] == ['-e .']


def test_what_tests_import_is_asked_for_by_name():
    """Not brought by something else, which may come to bring another."""
    known = {path.stem for path in ROOT.glob('tests/**/*.py')} | sys.stdlib_module_names | {'gpt2'}
    known |= {'ml_dtypes', 'nbformat', 'jupyter_client'}  # part of TensorFlow's, nbclient's own API
    asked = re.findall(r"'([\w-]+)(?:\[.+?\])?>=", (ROOT / 'setup.py').read_text('utf-8'))
    for path in ROOT.glob('tests/**/*.py'):
        for node in ast.parse(path.read_text('utf-8')).body:
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) else []
            packages = {name.partition('.')[0] for name in names}
            assert packages <= {*known, *asked}, path


def test_no_compiled_function_writes_a_file():
    """As autograph does for each, in TMPDIR, where a process that is killed leaves it."""
    for path in ROOT.glob('src/**/*.py'):
        functions = re.findall(r'tf\.function\(|@tf\.function$', path.read_text('utf-8'), re.M)
        assert len(functions) == path.read_text('utf-8').count('autograph=False'), path


def test_the_package_and_the_scripts_of_a_wheel(site, tmp_path):
    def python(*args):
        done = subprocess.run(
            [sys.executable, *args],
            env=os.environ | {'PYTHONPATH': str(site)},
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    where = python('-c', 'import gpt2.encoder; print(gpt2.encoder.__file__)')
    assert where.strip() == str(site / 'gpt2' / 'encoder.py')
    where = python('-c', 'from gpt2.training import schedule; print(schedule.__file__)')
    assert where.strip() == str(site / 'gpt2' / 'training' / 'schedule.py')
    python('-c', 'from gpt2 import views; views.pages.fill("attention")')  # its HTML is there
    assert (site / 'gpt2' / 'serving' / 'page' / 'index.html').exists()
    script = site / 'bin' / 'generate_unconditional_samples.py'
    args = ['--model_name', 'demo', '--models_dir', ROOT / 'models', '--nsamples', '1']
    assert 'SAMPLE 1' in python(script, *args, '--length', '5')
    scripts = {path.name for path in ROOT.glob('*.py') if path.name != 'setup.py'}
    assert {path.name for path in (site / 'bin').glob('*.py')} == scripts
    packed = {path.name for path in (site / 'gpt2' / 'scripts').glob('*.py')}
    assert packed - {'setup.py'} == scripts
    version = python('-c', 'import importlib.metadata as m; print(m.version("gpt-2"))')
    assert version.strip() == gpt2.__version__


def test_a_command_runs_the_clones_script_as_it_stands(tmp_path):
    """From any folder; and leaves bin, which has an evaluate.py, out of where modules are."""
    clone, commands = tmp_path / 'clone', tmp_path / 'bin'
    shutil.copytree(ROOT / 'src', clone / 'src')
    shutil.copytree(ROOT / 'models' / 'demo', clone / 'models' / 'demo')
    shutil.copy(ROOT / 'download_model.py', clone)
    (tmp_path / 'site').mkdir()
    (tmp_path / 'site' / 'gpt2').symlink_to(clone / 'src')
    commands.mkdir()
    for name in ('download_model.py', 'evaluate.py'):
        (commands / name).write_text('from gpt2.commands import run\nrun()\n')

    def command(name, *args):
        return subprocess.run(
            [sys.executable, commands / name, *args],
            env=os.environ | {'PYTHONPATH': str(tmp_path / 'site')},
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )

    done = command('download_model.py', '--list')
    assert done.stdout.splitlines()[1].startswith('demo '), done.stderr
    done = command('download_model.py', 'x')
    assert done.stderr.startswith("download_model.py: no model is called 'x'")
    for text in ('one', 'two'):
        code = f'import importlib.util as u; print({text!r}, u.find_spec("download_model"))'
        (clone / 'evaluate.py').write_text(code)
        assert command('evaluate.py').stdout == f'{text} None\n'
