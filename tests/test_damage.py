"""Damage at random, with a fixed seed, to every file that is read: a sentence, or the right values.

What no structure can show, and is left out here by `unseen`: another n_head in hparams.json that
divides n_embd, and another window of a banded model, for no tensor's shape depends on them. Nor are
letters seen in a classifier's task.json, of labels, patterns or columns, nor in a template:
docs/files.md names all that is not.
"""

import collections
import dataclasses
import random

import numpy as np
import pytest
import tensorflow as tf

import gpt2
from conftest import write_model
from gpt2.checkpoint import load_params
from gpt2.data import token_file
from gpt2.data.token_file import read_npz
from gpt2.encoder import read_encoder
from gpt2.errors import UserError
from gpt2.hparams import HParams
from gpt2.params import flatten, init_params
from gpt2.training.run_folder import RunFolder
from gpt2.training.start import find_start
from gpt2.training.trainer import Trainer

UNSEEN = {'n_head': 0, 'window': 0}
SMALL = HParams(n_vocab=1024, n_ctx=8, n_embd=8, n_head=2, n_layer=2)


def damage(draw, content):
    """One kind of damage, somewhere: (kind, the bytes that are left)."""
    at = draw.randrange(len(content))
    end = min(len(content), at + draw.choice([1, 2, 8, 64, 512]))
    before, byte, after = content[:at], content[at], content[at + 1 :]
    kinds = {
        'flip a bit': before + bytes([byte ^ 1 << draw.randrange(8)]) + after,
        'change a byte': before + bytes([draw.randrange(256)]) + after,
        'cut': before,
        'delete a byte': before + after,
        'insert a byte': before + bytes([draw.randrange(256), byte]) + after,
        'zero a range': before + bytes(end - at) + content[end:],
        'repeat a range': content[:end] + content[at:],
    }
    kind = draw.choice(list(kinds))
    return kind, kinds[kind]


def unseen(good, got):
    """Whether all that differs is what no structure can show."""
    hparams = got.get('hparams')
    same = hparams and vars(hparams) | UNSEEN == vars(good['hparams']) | UNSEEN
    return same and got | {'hparams': 0} == good | {'hparams': 0}


def harm(read, paths, others, cases, seed):
    """Damage one of `paths` or swap it with one of `others`, read; count what comes of it.

    read() -> a dict of what can be compared.
    """
    draw, good, counts = random.Random(seed), read(), collections.Counter()
    for _ in range(cases):
        path, other = draw.choice(paths), draw.choice(others)
        whole = {path: path.read_bytes(), other: other.read_bytes()}
        if others != paths[:1] and draw.random() < 0.1:
            kind = f'swap with {other.name}'
            path.write_bytes(whole[other])
            other.write_bytes(whole[path])
        else:
            kind, content = damage(draw, whole[path])
            path.write_bytes(content)
        what = outcome(read, good)
        counts[what if what in ('sentence', 'equal', 'unseen') else (path.name, kind, what)] += 1
        for there, content in whole.items():
            there.write_bytes(content)
    assert read() == good
    return counts


def outcome(read, good):
    """'sentence', 'equal', 'unseen', or what is wrong."""
    try:
        got = read()
    except UserError as error:
        text = str(error)
        is_one = text.isprintable() and '; ' in text and '{{' not in text and '[Op:' not in text
        return 'sentence' if is_one else f'no sentence: {text}'
    except Exception as error:
        return f'{type(error).__name__}: {error}'
    if got == good:
        return 'equal'
    return 'unseen' if unseen(good, got) else 'silent'


def check(counts):
    """All is well, and the damage was felt."""
    wrong = {what: number for what, number in counts.items() if isinstance(what, tuple)}
    assert not wrong
    assert counts['sentence'] > counts.total() / 3
    print(dict(counts))  # shown by pytest -rP


def content_of(tensors):
    return {name: np.asarray(value).tobytes() for name, value in flatten(tensors).items()}


def vocabulary_of(folder, n_vocab=None):
    enc = read_encoder(folder, n_vocab)
    return {'encoder': enc.encoder, 'merges': enc.bpe_ranks}


def test_a_models_files(tmp_path):
    folder = tmp_path / 'models' / 'small'
    write_model(folder, SMALL)

    def read():
        found = gpt2.find('small', folder.parent)
        params = load_params(found.folder, found.hparams)
        vocabulary = {'encoder': found.enc.encoder, 'merges': found.enc.bpe_ranks}
        return {'hparams': found.hparams, 'params': content_of(params)} | vocabulary

    paths = sorted(folder.iterdir())
    assert len(paths) == 6
    check(harm(read, paths, paths, 700, seed=1))


def test_what_no_structure_shows(tmp_path):
    hparams = dataclasses.replace(SMALL, attention=('dense', 'banded'), window=4)
    write_model(tmp_path / 'small', hparams)
    good, path = gpt2.find('small', tmp_path), tmp_path / 'small' / 'hparams.json'
    for before, after in (('"window": 4', '"window": 6'), ('"n_head": 2', '"n_head": 4')):
        path.write_text(path.read_text().replace(before, after))
        found = gpt2.find('small', tmp_path)
        load_params(found.folder, found.hparams)
        assert found.hparams != good.hparams
        assert unseen({'hparams': good.hparams}, {'hparams': found.hparams})


def test_a_runs_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_model(tmp_path / 'models' / 'small', SMALL)
    run = RunFolder('run1')
    run.begin(tmp_path / 'models' / 'small', SMALL, print)
    trainer = Trainer(init_params(SMALL, seed=1), SMALL)
    for step in (2, 3):
        state = {
            name: value + tf.cast(step, value.dtype) for name, value in trainer.state().items()
        }
        facts = {'step': step, 'average': [0.5, 1.0], 'best': 2.5, 'seed': 7, 'flags': {'n': 1}}
        run.save(step, init_params(SMALL, seed=step), state, facts, keep=5)

    def read():
        start = find_start(run, 'latest', 'small', 'models', {})
        values = {'hparams': start.hparams, 'facts': start.facts}
        values |= vocabulary_of(start.folder, start.hparams.n_vocab)
        params = load_params(start.prefix, start.hparams)
        trainer.restore(start.state)
        return values | {'params': content_of(params), 'state': content_of(trainer.state())}

    paths = sorted(path for path in run.path.iterdir() if path.is_file())
    assert len(paths) == 4 + 2 * 5
    last = [path for path in paths if '-2.' not in path.name]
    check(harm(read, last, paths, 400, seed=2))


@pytest.mark.parametrize('save', [np.savez, np.savez_compressed])
def test_an_npz(tmp_path, monkeypatch, save):
    monkeypatch.setattr(token_file, 'CHECKED_BYTES', 1000)  # the rest when it is read
    path, draw = tmp_path / 'a.npz', np.random.default_rng(1)
    save(path, *(draw.integers(0, 1024, n).astype(np.uint16) for n in (4000, 5, 5000)))

    def read():
        chunks = read_npz(path, 1023)
        windows = [chunk[: len(chunk) // 2] for chunk in chunks]
        return {
            name: [np.asarray(ids[:]).tobytes() for ids in found]
            for name, found in (('windows', windows), ('chunks', chunks))
        }

    check(harm(read, [path], [path], 600, seed=3))


def test_gpt2s_vocabulary(tmp_path, vocab_dir):
    for name in ('encoder.json', 'vocab.bpe'):
        (tmp_path / name).write_bytes((vocab_dir / name).read_bytes())
    paths = sorted(tmp_path.iterdir())
    check(harm(lambda: vocabulary_of(tmp_path), paths, paths, 20, seed=4))
