#!/usr/bin/env python3
"""All benchmarks with what is installed: one file of figures, and whether each meets its target.

targets.json has for each command what is looked for in its output: the last number in a cell of a
table, by the words at the beginning of its row and by its column, or the number in a pattern.
"""

import datetime
import importlib.metadata
import importlib.util
import json
import os
import platform
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from gpt2 import cli
from gpt2.errors import UserError

HERE = Path(__file__).resolve().parent
HEADER = ['## Targets', '', '| what | target | figure | met |', '|---|---|---|---|']
PACKAGES = ('tensorflow', 'numpy', 'torch', 'transformers', 'ctranslate2', 'llama-cpp-python')


def cell(output: str, row: list[str], column: str) -> str | None:
    """The cell of a Markdown table whose row begins with `row`, in a column of that name."""
    header = []
    for line in output.splitlines():
        cells = [x.strip() for x in line.strip('|').split('|')] if line.startswith('|') else []
        if column in cells:
            header = cells
        elif header and cells[: len(row)] == row:
            return cells[header.index(column)]
    return None


def value(output: str, target: dict) -> float | None:
    """The figure that a target is about; None where the output has none."""
    if 'pattern' in target:
        found = re.search(target['pattern'], output, re.MULTILINE)
        return float(found[1].replace(',', '')) if found else None
    numbers = re.findall(r'[\d.]+', cell(output, target['row'], target['column']) or '')
    return float(numbers[-1]) if numbers else None


def judged(output: str, targets: list[dict]) -> Iterator[tuple[str, str, str, bool]]:
    """What, the target and the figure of each, and whether it is as it should be.

    One that needs a project which is not installed is left out; else a figure has to be there.
    """
    for target in targets:
        if 'needs' in target and not importlib.util.find_spec(target['needs']):
            continue
        found = value(output, target)
        least, most = target.get('at_least', -1e9), target.get('at_most', 1e9)
        limit = f'at least {least}' if 'at_least' in target else f'at most {most}'
        good = found is not None and least <= found <= most
        yield target['what'], limit, 'not found' if found is None else f'{found:g}', good


def name_of(entry: dict) -> str:
    return entry['command'].partition('.py')[0]


def run(command: str) -> tuple[str, int]:
    """What a benchmark prints, passed on as it comes, and its exit code."""
    argv, lines = [sys.executable, *shlex.split(command)], []
    with tempfile.TemporaryDirectory() as folder:  # for the files that it writes
        argv[1] = str(HERE / argv[1])
        with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, cwd=folder) as process:
            for line in process.stdout:
                print(line, end='', flush=True)
                lines.append(line)
    return ''.join(lines), process.returncode


def machine() -> list[str]:
    """Lines about where and with what this runs."""
    cpu = platform.processor() or platform.machine()
    if os.path.exists('/proc/cpuinfo'):
        text = Path('/proc/cpuinfo').read_text()
        cpu = (re.search(r'model name\s*:\s*(.*)', text) or ['', cpu])[1]
    versions = []
    for name in PACKAGES:
        try:
            versions.append(f'{name} {importlib.metadata.version(name)}')
        except importlib.metadata.PackageNotFoundError:
            versions.append(f'no {name}')
    return [
        f'{datetime.date.today():%d %B %Y}; {os.cpu_count()} cores of {cpu}; '
        f'Python {platform.python_version()}; {", ".join(versions)}.',
        '',
    ]


def benchmark(
    text: str | None = None,
    vocabulary: str | None = None,
    only: str | None = None,
    targets: str = str(HERE / 'targets.json'),
    output: str = 'benchmarks.md',
):
    """
    Run what targets.json names, write a report, and end with 1 where a target is missed

    :text=None : Text file to encode; what needs one is left out without
    :vocabulary=None : Folder with GPT-2's encoder.json and vocab.bpe, likewise
    :only=None : The benchmarks to run (sampling,start); all, if left out
    :targets=targets.json : Commands and what each is to reach
    :output=benchmarks.md : The report's file
    """
    given = {
        name: shlex.quote(str(Path(path).resolve()))
        for name, path in {'text': text, 'vocabulary': vocabulary}.items()
        if path
    }
    entries = json.loads(Path(targets).read_text('utf-8'))
    names = list(dict.fromkeys(name_of(entry) for entry in entries))
    chosen = only.split(',') if only else names
    if unknown := {*chosen} - {*names}:
        raise UserError(f'no benchmark is called {min(unknown)}; --only is of {",".join(names)}')
    report, table, missed = ['# Benchmarks', '', *machine()], [*HEADER], []
    for entry in entries:
        if name_of(entry) not in chosen:
            continue
        if missing := {*re.findall(r'{(\w+)}', entry['command'])} - given.keys():
            print(f'left out: {entry["command"]}; it takes --{min(missing)}', flush=True)
            continue
        command = entry['command'].format(**given)
        print(f'$ python benchmarks/{command}', flush=True)
        printed, code = run(command)
        if code:
            missed.append(f'benchmarks/{command} ended with {code}')
        report += [f'## {name_of(entry)}', '', '```text', f'$ python benchmarks/{command}']
        report += [f'{printed}```', '']
        for what, limit, figure, good in judged(printed, entry['targets']):
            table.append(f'| {what} | {limit} | {figure} | {"yes" if good else "**no**"} |')
            missed += [] if good else [f'{what}: {figure}, not {limit}']
        Path(output).write_text('\n'.join([*report, *table]) + '\n', 'utf-8')
    print(*table, *(['missed:'] if missed else []), *missed, sep='\n')
    return int(bool(missed))


if __name__ == '__main__':
    cli.run(benchmark)
