"""The package, built as a wheel and installed somewhere else."""

import os
import shutil
import subprocess
import sys

import pytest

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
    script = site / 'bin' / 'generate_unconditional_samples.py'
    args = ['--model_name', 'demo', '--models_dir', ROOT / 'models', '--nsamples', '1']
    assert 'SAMPLE 1' in python(script, *args, '--length', '5')
    assert {path.name for path in (site / 'bin').glob('*.py')} == {
        path.name for path in ROOT.glob('*.py') if path.name != 'setup.py'
    }
