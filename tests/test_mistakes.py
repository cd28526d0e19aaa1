"""Mistakes that a user can make: each is one sentence, costs no wait, and changes nothing."""

import hashlib
import os
import re

import pytest
from mistakes import cases

from gpt2 import fetch


@pytest.fixture
def place(tmp_path):
    """A folder with files of every kind, good and bad."""
    place = tmp_path / 'place'
    (place / 'folder').mkdir(parents=True)
    (place / 'old' / 'demo').mkdir(parents=True)
    os.mkfifo(place / 'pipe')
    text = 'to be or not to be, that is the question\n' * 20
    for name, content in {
        'a.txt': text,
        'old/demo/encoder.json': '{}',
        'empty.txt': '',
        'le.txt': text.encode('utf-16-le'),
        'be.txt': text.encode('utf-16-be'),
        'le.csv': text.encode('utf-16-le'),
        'mark.txt': text.encode('utf-16'),
        'latin.txt': 'naïve'.encode('latin-1'),
        'deep.jsonl': '[' * 100_000,
        'list.jsonl': '["text"]\n',
        'long.jsonl': '{"text": [' + '1,' * 10_000 + '1]}\n',
        'columns.jsonl': '{"a": "x", "b": "y"}\n',
        'text.npz': text,
    }.items():
        (place / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return place


def snapshot(place):
    """What is on the disk: {path: a hash of its content, or its kind}."""
    return {
        str(path.relative_to(place)): hashlib.sha256(path.read_bytes()).digest()
        if path.is_file()
        else path.stat().st_mode
        for path in sorted(place.rglob('*'))
    }


@pytest.mark.parametrize('argv, sentence', list(cases()))
def test_is_one_sentence_and_changes_nothing(
    run, place, no_tensorflow, monkeypatch, argv, sentence
):
    monkeypatch.setattr(fetch, 'WAITS', ())
    monkeypatch.setenv('NO_PROXY', '*')
    monkeypatch.setenv('HERE', str(place))
    before = snapshot(place)
    done = run(*argv, cwd=place)
    assert (done.returncode, done.stdout) == (2, ''), done.stderr
    assert re.search(f'^{argv[0]}: .*{sentence}', done.stderr), done.stderr
    assert done.stderr.count('\n') == 1 and done.stderr.endswith('\n')
    assert snapshot(place) == before
