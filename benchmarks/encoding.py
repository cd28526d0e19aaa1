#!/usr/bin/env python3
"""Speed and memory of encode.py, by the number of its workers. Needs Linux's /proc."""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from gpt2 import cli

ENCODE = Path(__file__).resolve().parent.parent / 'encode.py'


def benchmark(
    text: str,
    megabytes: int = 1000,
    workers: str = '1,2',
    model_name: str = '117M',
    models_dir: str = 'models',
):
    """
    Encode a text repeated to so many megabytes, and print MB/s and peak memory

    :text : Path to a text file
    :megabytes=1000 : How much to encode
    :workers=1,2 : Numbers of workers to compare
    :model_name=117M : String, whose vocabulary to use
    :models_dir=models : Path to the parent folder of the model folders
    """
    model = ['--model_name', model_name, '--models_dir', models_dir]
    with tempfile.TemporaryDirectory() as folder:
        corpus, out = Path(folder, 'corpus.txt'), Path(folder, 'corpus.npz')
        content = Path(text).read_bytes()
        with open(corpus, 'wb') as file:
            while file.tell() < megabytes * 10**6:
                file.write(content)
        megabytes, first = corpus.stat().st_size / 1e6, None
        for count in workers.split(','):
            command = [sys.executable, ENCODE, corpus, out, *model, '--workers', count]
            seconds, peak = measure(command)
            first = first or seconds
            print(
                f'{count} workers: {megabytes:.0f} MB in {seconds:.1f} s, '
                f'{megabytes / seconds:.2f} MB/s, {first / seconds:.2f} times the first, '
                f'peak {peak / 2**20:.0f} MiB',
                flush=True,
            )


def measure(command: list) -> tuple[float, int]:
    """Seconds that a command takes, and the most bytes that it and its children held at once."""
    start, peak = time.perf_counter(), 0
    # In a session of its own, by which /proc tells its processes from others.
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True) as process:
        while process.poll() is None:
            peak = max(peak, resident(process.pid))
            time.sleep(0.2)
    if process.returncode:
        sys.exit(process.returncode)
    return time.perf_counter() - start, peak


def resident(session: int) -> int:
    """Bytes of memory that the processes of a session hold; shared pages count for each."""
    total = 0
    for path in Path('/proc').glob('[0-9]*'):
        try:
            fields = (path / 'stat').read_text().rpartition(')')[2].split()
            if int(fields[3]) == session:
                rss = (path / 'status').read_text().partition('VmRSS:')[2].split()
                total += int(rss[0]) * 1024 if rss else 0
        except OSError:
            continue  # it has ended
    return total


if __name__ == '__main__':
    cli.run(benchmark)
