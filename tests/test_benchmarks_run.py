"""The report of all benchmarks: what is found in their output, and what it is held against."""

import json
import re
import runpy
import sys
from pathlib import Path

import pytest

from gpt2.model_folder import CLONE

TABLE = """Memory: 39.0 GB/s.

| model | precision | batch | ours | llama_cpp | of float32 |
|---|---|---|---|---|---|
| 124M | float32 | 1 | 47.7 (1.00x) | 35.8 (1.33x) | 1.00x |
| 124M | int8 | 1 | 120.0 (1.00x) | 155.0 (0.77x) | 2.52x |
| 124M | int8 | 8 | 250.0 (1.00x) |  | 1.10x |
the server: 1,234.5 tokens/s, 0.85 times
"""


@pytest.fixture(scope='module')
def bench():
    return runpy.run_path(str(CLONE / 'benchmarks' / 'run.py'))


def row(*cells, column, **more):
    return {'what': ' '.join(cells), 'row': list(cells), 'column': column} | more


def test_figures_of_tables_and_lines(bench):
    value = bench['value']
    assert value(TABLE, row('124M', 'float32', '1', column='llama_cpp')) == 1.33
    assert value(TABLE, row('124M', 'int8', '1', column='of float32')) == 2.52
    assert value(TABLE, row('124M', 'int8', '8', column='llama_cpp')) is None
    assert value(TABLE, row('355M', 'int8', '1', column='ours')) is None
    assert value(TABLE, {'pattern': r'^the server: ([\d.,]+)'}) == 1234.5
    assert value(TABLE, {'pattern': r'^a server: ([\d.,]+)'}) is None


def test_what_is_missed_or_not_found_is_no_success(bench):
    targets = [
        row('124M', 'int8', '1', column='of float32', at_least=2.2),
        row('124M', 'int8', '1', column='llama_cpp', at_least=1.0),
        row('124M', 'int8', '1', column='ours', at_most=0.5),
        row('124M', 'int4', '1', column='ours', at_least=1.0),
        row('124M', 'int4', '1', column='ours', at_least=1.0, needs='no_such_project'),
    ]
    judged = list(bench['judged'](TABLE, targets))
    assert [good for *_, good in judged] == [True, False, False, False]
    assert judged[1][1:3] == ('at least 1.0', '0.77')
    assert judged[3][2] == 'not found'


@pytest.mark.parametrize(('least', 'ending'), [(2, 0), (4, 1)])
def test_a_report(bench, tmp_path, capsys, least, ending):
    """Of a benchmark that writes a file, too, which does not stay."""
    script = tmp_path / 'three.py'
    script.write_text("open('left', 'w').close()\nprint('it is 3.5 times as fast')\n")
    target = {'what': 'it', 'pattern': r'it is ([\d.]+) times', 'at_least': least}
    entries = [
        {'command': str(script), 'targets': [target]},
        {'command': 'encoder.py {text}', 'targets': []},
    ]
    (tmp_path / 'targets.json').write_text(json.dumps(entries))
    out = tmp_path / 'report.md'
    given = {'targets': str(tmp_path / 'targets.json'), 'output': str(out)}
    assert bench['benchmark'](**given) == ending
    report = out.read_text('utf-8')
    assert 'it is 3.5 times as fast\n```' in report
    met = '**no**' if ending else 'yes'
    assert f'| it | at least {least} | 3.5 | {met} |' in report
    assert re.search(r'\d{4}; \d+ cores of .*; Python 3\..*tensorflow 2\.', report)
    assert not (Path.cwd() / 'left').exists()
    printed = capsys.readouterr().out
    assert 'left out: encoder.py {text}; it takes --text' in printed
    assert ('missed:\nit: 3.5, not at least 4' in printed) == bool(ending)


def test_a_benchmark_that_fails(bench, tmp_path):
    script = tmp_path / 'fails.py'
    script.write_text('raise SystemExit(3)\n')
    (tmp_path / 'targets.json').write_text(json.dumps([{'command': str(script), 'targets': []}]))
    given = {'targets': str(tmp_path / 'targets.json'), 'output': str(tmp_path / 'report.md')}
    assert bench['benchmark'](**given) == 1


def test_an_unknown_name(bench):
    with pytest.raises(ValueError, match='no benchmark is called sampler'):
        bench['benchmark'](only='sampler')


def test_targets_are_of_benchmarks_that_there_are():
    for entry in json.loads((CLONE / 'benchmarks' / 'targets.json').read_text('utf-8')):
        script = CLONE / 'benchmarks' / entry['command'].split()[0]
        assert script.exists()
        for target in entry['targets']:
            assert {'at_least', 'at_most'} & target.keys()
            assert re.compile(target['pattern']).groups == 1 if 'pattern' in target else True
            text = script.read_text('utf-8')
            assert 'row' not in target or f'{target["column"].split()[0]}' in text


def test_triton_is_hidden_from_torch(monkeypatch):
    monkeypatch.syspath_prepend(CLONE / 'benchmarks')
    monkeypatch.delitem(sys.modules, 'triton', raising=False)
    monkeypatch.delitem(sys.modules, 'peers', raising=False)
    import peers

    assert sys.modules['triton'] is None and peers
