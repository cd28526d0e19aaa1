"""docs/serving.md: its examples print what the page shows, from a server of the demo model."""

import inspect
import re
import subprocess
import sys

from conftest import ROOT
from gpt2.serving import requests
from live import serve_live  # noqa: F401  a fixture

PAGE = (ROOT / 'docs' / 'serving.md').read_text('utf-8')
ADDRESS = 'http://127.0.0.1:8000'


def blocks(language):
    return re.findall(rf'^```{language}\n(.*?)^```$', PAGE, re.M | re.S)


def run(command, live):
    command = [word.replace(ADDRESS, live.url) for word in command]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, '')
    return done.stdout


def test_python_examples(live):
    program = "\nprint('=' * 90)\n".join(blocks('python'))
    found = run([sys.executable, '-c', program], live)
    assert found.split('=' * 90 + '\n') == blocks('text')


def test_commands(live):
    [block] = blocks('console')
    command, output = block.removeprefix('$ ').split('\n', 1)

    def steady(text):
        return re.sub(r'cmpl-\w+|"created":\d+', '...', text).strip()

    assert steady(run(['bash', '-c', command], live)) == steady(output)


def table(head):
    rows = re.search(rf'^\| {head} \|.*?\n\|-.*?\n(.*?)^$', PAGE, re.M | re.S)[1]
    cells = [re.split(r' \| ', row.strip('| ')) for row in rows.splitlines()]
    return [(re.findall(r'`(\w+)`', names), told) for names, told, *_ in cells]


def test_every_field_is_told_with_its_default():
    told = {}
    for names, defaults in table('field'):
        told |= dict(zip(names, defaults.split(', '), strict=True))
    assert set(told) == {*requests.FIELDS, 'prompt'} - {'stream_options'}
    for name, (default, _) in requests.FIELDS.items():
        shown = told.get(name)
        if isinstance(default, bool):
            assert shown == str(default).lower()
        elif isinstance(default, (int, float)):
            assert float(shown) == default


def test_every_flag_is_told_with_its_default():
    from importlib.util import module_from_spec, spec_from_file_location

    spec = spec_from_file_location('serve_script', ROOT / 'serve.py')
    script = module_from_spec(spec)
    spec.loader.exec_module(script)
    told = {name: default for [name], default in table('flag')}
    parameters = inspect.signature(script.serve).parameters
    assert list(told) == list(parameters)
    for name, parameter in parameters.items():
        assert told[name] == ('none' if parameter.default is None else str(parameter.default))
