"""encode.py, run as a user runs it, on real files."""

import fcntl
import functools
import os
import pty
import random
import re
import signal
import struct
import subprocess
import sys
import termios
import time

import numpy as np
import pytest

from conftest import ROOT
from gpt2.data.load_dataset import load_dataset
from gpt2.encoder import get_encoder

MEGABYTE = 2**20

# Neither the command nor a worker imports TensorFlow.
pytestmark = pytest.mark.usefixtures('no_tensorflow')


@functools.cache
def words(number):
    """Text of several scripts, its words separated by blanks of several kinds."""
    some = [
        'the',
        "isn't",
        'Ångström',
        '1999',
        '...',
        '漢字',
        '\n\n',
        '',
        '"quoted"',
        '\t',
        'ROMEO:',
    ]
    return ' '.join(random.Random(0).choices(some, k=number))


@pytest.fixture
def corpus(tmp_path, tiny):
    """A file of some 2.3 million letters: two chunks."""
    path = tmp_path / 'corpus.txt'
    path.write_text(words(520_000), encoding='utf-8')
    return path


def chunks(path):
    with np.load(path) as npz:
        assert npz.files == [f'arr_{n}' for n in range(len(npz.files))]
        return [npz[name] for name in npz.files]


def same(ones, others):
    return len(ones) == len(others) and all(map(np.array_equal, ones, others))


def start(*args, **options):
    """encode.py in a session of its own, to which signals can be sent as a terminal does."""
    return subprocess.Popen(
        [sys.executable, ROOT / 'encode.py', *map(str, args), '--model_name', 'tiny'],
        **{'start_new_session': True, 'stderr': subprocess.PIPE, 'text': True} | options,
    )


def wait_until(condition):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_the_ids_of_the_whole_text_whatever_the_number_of_workers(process, corpus, tiny, tmp_path):
    (tmp_path / 'short.txt').write_text('short')
    found = []
    for workers in (1, 2):
        out = f'{workers}.npz'
        args = ('short.txt', corpus, corpus, 'short.txt', out, '--model_name', 'tiny')
        done = process('encode.py', *args, '--workers', workers)
        assert (done.returncode, done.stderr) == (0, '')
        found.append(chunks(tmp_path / out))
        tokens = sum(map(len, found[-1]))
        assert done.stdout == f'{out}: {tokens:,} tokens in {len(found[-1])} chunks\n'
    assert len(found[0]) > 2 * 2 and same(*found)  # more than are under way at once
    assert {chunk.dtype for chunk in found[0]} == {np.dtype(np.uint16)}
    enc = get_encoder(tiny.name, tiny.parent)
    short, text, end = enc.encode('short'), enc.encode(words(520_000)), [enc.end_of_text]
    whole = [*short, *end, *text, *end, *text, *end, *short]
    assert np.array_equal(np.concatenate(found[0]), whole)
    loaded = load_dataset(enc, tmp_path / '2.npz', 50000)
    assert same([chunk[:] for chunk in loaded], found[0])


def test_the_ids_of_gpt2(process, run, vocab_dir, tmp_path):
    text = words(300_000)
    (tmp_path / 'a.txt').write_text(text, encoding='utf-8')
    args = ('--model_name', vocab_dir.name, '--models_dir', vocab_dir.parent)
    for workers in (1, 2):
        done = process('encode.py', 'a.txt', 'a.npz', *args, '--workers', workers)
        assert (done.returncode, done.stderr) == (0, '')
        enc = get_encoder(vocab_dir.name, vocab_dir.parent)
        assert np.array_equal(np.concatenate(chunks(tmp_path / 'a.npz')), enc.encode(text))
    run('encode.py', 'a.txt', 'a.txt', 'two.npz', *args)
    both = [*enc.encode(text), 50256, *enc.encode(text)]
    assert np.array_equal(np.concatenate(chunks(tmp_path / 'two.npz')), both)


def test_a_folder_twice_in_a_row(run, tiny, tmp_path):
    (tmp_path / 'data').mkdir()
    (tmp_path / 'data' / 'a.txt').write_text('one')
    (tmp_path / 'data' / 'b.jsonl').write_text('{"title": "t", "body": "two"}\n')
    (tmp_path / 'data' / '.c.txt').write_text('hidden')
    args = ('data', 'data/out.npz', '--model_name', 'tiny', '--column', 'body')
    for left_out in ('', 'data: left out as binary: data/out.npz\n'):
        done = run('encode.py', *args)
        assert done.stdout == (
            f'data: left out as hidden: data/.c.txt\n{left_out}data/out.npz: 7 tokens in 1 chunk\n'
        )
        enc = get_encoder(tiny.name, tiny.parent)
        assert enc.decode(chunks(tmp_path / 'data' / 'out.npz')[0]) == 'one<|endoftext|>two'
    done = run('encode.py', *args, '--combine', '3')
    assert len(chunks(tmp_path / 'data' / 'out.npz')) == 2
    done = run('encode.py', *args, '--legacy_separator')
    legacy = chunks(tmp_path / 'data' / 'out.npz')[0]
    assert legacy.tolist() == enc.encode('one<|endoftext|>two<|endoftext|>')


PEAK = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


def test_memory_does_not_grow_with_the_input(tmp_path, tiny):
    peaks = []  # of the largest of its processes, in MiB
    for megabytes in (5, 30):
        with open(tmp_path / 'corpus.txt', 'wb') as file:
            while file.tell() < megabytes * MEGABYTE:
                file.write(b'To be, or not to be: that is the question.\n' * 24_000)
        encode = [ROOT / 'encode.py', 'corpus.txt', 'out.npz', '--model_name', 'tiny']
        done = subprocess.run(
            [sys.executable, '-c', PEAK, sys.executable, *encode, '--workers', '2'],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=True,
        )
        peaks.append(int(done.stdout.splitlines()[-1]) / 1024)
    assert peaks[1] < peaks[0] + 12  # for 25 MiB more of text, and 50 of ids


@pytest.mark.parametrize('old', [None, b'what was there'])
def test_a_killed_run_leaves_nothing_half_done(corpus, tmp_path, old):
    out = tmp_path / 'out.npz'
    if old:
        out.write_bytes(old)
    process = start(*[corpus] * 20, out, '--workers', 2, cwd=tmp_path, stderr=subprocess.DEVNULL)
    part = tmp_path / 'out.npz.part'
    wait_until(lambda: part.exists() and part.stat().st_size > 1000)
    process.kill()
    process.wait()
    assert (out.read_bytes() if old else out.exists()) == (old or False)

    def gone():
        try:
            os.killpg(process.pid, 0)
        except ProcessLookupError:
            return True

    wait_until(gone)  # the workers with their parent
    process = start(corpus, out, cwd=tmp_path)
    assert process.wait() == 0
    assert len(chunks(out)) >= 2 and not part.exists()


def workers_of(process):
    listed = subprocess.run(['ps', '-wweo', 'ppid=,pid=,args='], capture_output=True, text=True)
    found = re.findall(rf'^ *{process.pid} +(\d+) .*spawn_main', listed.stdout, re.M)
    return list(map(int, found))


@pytest.mark.parametrize('workers', [1, 2])
@pytest.mark.parametrize('when', ['it starts', 'workers start', 'it writes'])
def test_an_interrupt(corpus, tmp_path, workers, when):
    process = start(*[corpus] * 20, 'out.npz', '--workers', workers, cwd=tmp_path)
    part = tmp_path / 'out.npz.part'
    wait_until(part.exists)
    if when == 'it writes':
        wait_until(lambda: part.stat().st_size > 1000)
    elif when == 'workers start' and workers > 1:
        wait_until(lambda: workers_of(process))
        time.sleep(0.1)  # now they import
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (130, '')
    assert not part.exists() and not (tmp_path / 'out.npz').exists()


def test_a_worker_that_is_killed(corpus, tmp_path):
    process = start(*[corpus] * 20, 'out.npz', '--workers', 2, cwd=tmp_path)
    part = tmp_path / 'out.npz.part'
    wait_until(lambda: part.exists() and part.stat().st_size > 1000)
    assert len(workers_of(process)) == 2
    os.kill(workers_of(process)[0], signal.SIGKILL)
    _, errors = process.communicate(timeout=60)
    sentence = 'encode.py: a worker was killed, perhaps for its memory; try --workers 1\n'
    assert (process.returncode, errors) == (2, sentence)
    assert not part.exists()


def test_a_failure_on_the_way_leaves_the_old_output(run, corpus, tmp_path):
    (tmp_path / 'out.npz').write_text('what was there')
    with open(corpus, 'ab') as file:
        offset = file.tell()
        file.write(b'\xff')
    done = run('encode.py', corpus, 'out.npz', '--model_name', 'tiny')
    assert done.returncode == 2
    assert re.match(rf'.*corpus.txt is not utf-8 at byte {offset}; say what it is', done.stderr)
    assert (tmp_path / 'out.npz').read_text() == 'what was there'
    assert not (tmp_path / 'out.npz.part').exists()


@pytest.mark.parametrize('columns', [80, 20])
def test_progress_on_a_terminal(corpus, tmp_path, columns):
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack('4H', 24, columns, 0, 0))
    process = start(corpus, 'out.npz', cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=theirs)
    os.close(theirs)
    shown = b''
    try:
        while data := os.read(ours, 4096):
            shown += data
    except OSError:  # Linux says so when the other side is closed
        pass
    os.close(ours)
    assert process.wait() == 0
    lines = re.split('[\r\n]+', shown.decode())
    assert '100%' in lines[-2] and '0%' in shown.decode()
    assert max(map(len, lines)) <= columns


@pytest.mark.parametrize(
    'args, sentence',
    [
        (['a.txt'], r'say what to encode and where to; run: python encode\.py TEXT OUT\.npz'),
        (['a.txt', 'b.txt'], r'the output, named last, is to be an \.npz file, not b\.txt'),
        (['a.txt', 'dir.npz'], r'the output, named last, is to be an \.npz file, not dir\.npz'),
        (['a.txt', 'no/o.npz'], r'there is no folder no for o\.npz; run: mkdir no'),
        (['gone.txt', 'o.npz'], r'gone\.txt is no file, no folder, and no pattern'),
        (['*.gone', 'o.npz'], r'\*\.gone is no file, no folder, and no pattern'),
        (['a.npz', 'o.npz'], r'a\.npz is encoded already; run: python train\.py --dataset a\.npz'),
        (['empty.txt', 'dir.npz', 'o.npz'], r'empty\.txt, dir\.npz holds no text'),
        (['a.csv', 'o.npz', '--column', 'c'], r'a\.csv line 2 has no column c, but: a, b; set'),
        (['a.txt', 'o.npz', '--encoding', 'utf9'], "no encoding of text is called 'utf9'"),
        (['a.txt', 'o.npz', '--workers', '0'], 'workers is at least 1, not 0'),
        (['a.txt', 'o.npz', '--combine', 'x'], "--combine is a whole number, not 'x'"),
        (['a.txt', 'o.npz', '--model_name', 'x'], r'no model in models/x \(there: '),
        (['a.txt', 'o.npz', '--worker', '1'], r'did you mean --workers\?'),
    ],
)
def test_mistakes(run, tiny, tmp_path, args, sentence):
    tiny.rename(tiny.with_name('117M'))
    for name, content in {
        'a.txt': 'text',
        'a.csv': 'a,b\n1,2\n',
        'a.npz': '',
        'empty.txt': '',
    }.items():
        (tmp_path / name).write_text(content)
    (tmp_path / 'dir.npz').mkdir()
    done = run('encode.py', *args)
    assert (done.returncode, done.stdout) == (2, '')
    assert re.match(f'encode.py: .*{sentence}', done.stderr) and done.stderr.count('\n') == 1
    assert not list(tmp_path.glob('o.npz*'))


def test_a_mistake_costs_no_wait(process, tiny):
    done = process('encode.py', 'gone.txt', 'o.npz', '--model_name', 'tiny')
    assert (done.returncode, done.stdout) == (2, '')
    assert re.fullmatch(
        'encode.py: gone.txt is no file, no folder, and no pattern.*\n', done.stderr
    )
