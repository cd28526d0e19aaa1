"""A process may end at any file operation: what is written for keeps is whole before and after."""

import json
import subprocess
import sys

import pytest
from scenarios import SCENARIOS

from conftest import ROOT

NEEDS = {'vocabulary': 'tokenizers'}


@pytest.mark.parametrize('name', SCENARIOS)
def test_a_process_that_ends_at_once_at_any_file_operation(name, tmp_path):
    if name in NEEDS:
        pytest.importorskip(NEEDS[name])
    script = [sys.executable, ROOT / 'tests' / 'dying.py', name]
    done = subprocess.run(script, capture_output=True, text=True, timeout=120, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result['ended'] == 0 and not result['wrong'], (result, done.stderr[-5000:])
    assert result['deaths'] > 0
