#!/usr/bin/env python3
"""Whose line is it: classify.py beside the majority and a bag of words, and its speed."""

import collections
import functools
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from tqdm import tqdm

import gpt2
from gpt2 import cli, runtime
from gpt2.data.read_text import read_whole
from gpt2.errors import UserError

SCRIPT = Path(__file__).resolve().parent.parent / 'classify.py'
SPEECH = re.compile(r'^([A-Z][A-Za-z ]+):\n((?:.+\n?)+)', re.M)


def speakers(
    text: str,
    model_name: str = 'demo',
    speakers: int = 4,
    lines: int = 2,
    seeds: int = 5,
    epochs: int = 6,
    learning_rate: float = 0.0005,
):
    """
    Learn which of a play's speakers a speech is of, with and without the language-model loss

    :text : String, a file of speeches, each after a line with its speaker, as NAME:
    :model_name=demo : The model to start from
    :speakers=4 : How many speakers, those with most speeches
    :lines=2 : How many lines of a speech are shown, its first ones
    :seeds=5 : How often; each time other rows are held out, a fifth of all
    :epochs=6 : Of classify.py train
    :learning_rate=0.0005 : likewise
    """
    rows = read_speeches(text, speakers, lines)
    flags = ['--model_name', model_path(model_name), '--epochs', epochs, '--val_every', 0]
    flags += ['--learning_rate', learning_rate]
    scores = collections.defaultdict(list)
    with tempfile.TemporaryDirectory() as folder:
        for seed in tqdm(range(1, seeds + 1), 'Seeds', leave=False, disable=None):
            train, held = split(rows, seed, len(rows) // 5)
            for name, part in (('train', train), ('held', held)):
                write_rows(Path(folder, f'{name}.jsonl'), part)
            scores['the majority'].append(majority(train, held))
            scores['a bag of words, logistic regression'].append(bag_of_words(train, held))
            for weight in (0, 0.5):
                run = f'{seed}-{weight}'
                more = ['--lm_weight', weight, '--run_name', run, '--seed', seed]
                classify(folder, 'train', '--task', 'train.jsonl', *flags, *more)
                found = evaluated(folder, 'held.jsonl', run)
                scores[f'{model_name}, lm_weight {weight}'].append(found['accuracy'])
    print(f'{len(rows)} speeches of {speakers} speakers, a fifth of them held out')
    print_scores(scores)


def cloze(
    text: str,
    model_name: str = 'demo',
    speakers: int = 2,
    lines: int = 2,
    seeds: int = 5,
    shots: int = 32,
    epochs: int = 20,
    learning_rate: float = 0.0005,
):
    """
    The same with patterns instead of a head, as the model is and after a few examples

    :text : String, a file of speeches, as for speakers
    :model_name=demo : The model to start from
    :speakers=2 : How many speakers, each as often as the others
    :lines=2 : How many lines of a speech are shown, its first ones
    :seeds=5 : How often, each time with other examples
    :shots=32 : How many examples to learn from
    :epochs=20 : Of classify.py train
    :learning_rate=0.0005 : likewise
    """
    rows = read_speeches(text, speakers, lines)
    names = sorted({row['label'] for row in rows})
    patterns = ['{text}\nThese are the words of', '{text}\nSo said']
    words = {name: f' {name.split()[-1].title()}' for name in names}
    scores = collections.defaultdict(list)
    model = ['--model_name', model_path(model_name), '--patterns', 'patterns.json']
    flags = ['--kind', 'cloze', '--epochs', epochs, '--learning_rate', learning_rate]
    flags += ['--batch_size', 8, '--val_every', 0, '--lm_weight', 0.1]
    with tempfile.TemporaryDirectory() as folder:
        content = {'patterns': patterns, 'verbalizers': words}
        Path(folder, 'patterns.json').write_text(json.dumps(content))
        for seed in tqdm(range(1, seeds + 1), 'Seeds', leave=False, disable=None):
            held, few = split(balanced(rows, seed), seed, shots)
            write_rows(Path(folder, 'few.jsonl'), few)
            write_rows(Path(folder, 'held.jsonl'), held)
            for name, more in (('as it is', []), ('calibrated', ['--calibrate'])):
                out = ['--output_path', 'out.json']
                classify(folder, 'cloze', 'held.jsonl', *model, *more, *out)
                scores[name].append(json.loads(Path(folder, 'out.json').read_text())['accuracy'])
            run = ['--run_name', seed, '--seed', seed]
            classify(folder, 'train', '--task', 'few.jsonl', *model, *flags, *run)
            scores[f'after {shots} examples'].append(
                evaluated(folder, 'held.jsonl', seed)['accuracy']
            )
            scores['a bag of words, of the same examples'].append(bag_of_words(few, held))
    print(f'{len(names)} speakers, chance {1 / len(names):.3f}')
    print_scores(scores)


def speed(
    text: str, model_name: str = 'demo', batch_size: int = 32, repeat: int = 20, speakers: int = 4
):
    """
    Tokens per second of a training step, beside those of train.py, in turns

    On rows as long as the context, and on speeches as they are; of these the tokens of the text
    count, not what pads them.

    :text : String, a file of speeches, as for speakers
    :model_name=demo : The model to train
    :batch_size=32 : Rows, and windows, in a batch
    :repeat=20 : Steps to time; the medians count
    :speakers=4 : How many speakers
    """
    runtime.start(training=True)
    import tensorflow as tf

    from gpt2.classification.head import joint_loss, new_head
    from gpt2.classification.rows import Example, Examples, encode_rows
    from gpt2.classification.task import TOKENS, Task
    from gpt2.params import grown
    from gpt2.special_tokens import extended
    from gpt2.training.trainer import Trainer

    def new_trainer(loss=None):
        params, hparams, enc = gpt2.load(model_name)
        random = tf.random.Generator.from_seed(1)
        if loss:
            params = grown(params, 3, random)
            hparams.n_vocab += 3
            params['head'] = new_head(hparams, speakers, True, random)
        return Trainer(
            params, hparams, dropout=0.1, clip_norm=1.0, **({'loss': loss} if loss else {})
        )

    model = gpt2.load(model_name)
    n_ctx = model.hparams.n_ctx
    rows = read_speeches(text, speakers)
    labels = tuple(sorted({row['label'] for row in rows}))
    enc, numbered = extended(model.enc, TOKENS), list(enumerate(rows, start=1))
    task = Task('classification', labels=labels)
    speeches = Examples(encode_rows(numbered, task, enc, n_ctx, text, True), n_ctx)
    random = np.random.default_rng(1)
    windows = random.integers(0, model.hparams.n_vocab, [1, batch_size, n_ctx], np.int32)
    full = Examples(
        [Example([row.tolist()], i % speakers) for i, row in enumerate(windows[0])], n_ctx
    )
    loss = functools.partial(joint_loss, kind='classification')
    ours, theirs = new_trainer(loss), new_trainer()

    def timed(trainer, batch, number) -> float:
        began = time.perf_counter()
        trainer.step(*tf.nest.map_structure(tf.constant, batch), 1e-5, number)
        return time.perf_counter() - began

    print('| step of | tokens/s | train.py | ratio |\n|---|---|---|---|')
    drawn = {
        name: list(zip(range(repeat), x.batches(1, 0, [1, batch_size]), strict=False))
        for name, x in {'rows as long as the context': full, 'speeches': speeches}.items()
    }
    for name, batches in drawn.items():
        for batch in {b[0].shape: b for _, b in batches}.values():
            timed(ours, batch, 0)  # compiles
        timed(theirs, (windows, windows), 0)
        rates = []
        for number, batch in batches:
            ours_rate = int((batch[1]['ends'] + 1).sum()) / timed(ours, batch, number)
            rates.append((ours_rate, windows.size / timed(theirs, (windows, windows), number)))
        one, other = map(statistics.median, zip(*rates, strict=True))
        ratio = statistics.median(a / b for a, b in rates)
        print(f'| {name} | {one:,.0f} | {other:,.0f} | {ratio:.2f} |', flush=True)


def model_path(model_name: str) -> Path:
    return gpt2.find(model_name).folder.resolve()


def read_speeches(path: str, most: int, lines: int | None = None) -> list[dict]:
    """The first lines of the speeches, or all, of the `most` speakers with most of them."""
    found = [
        (name, '\n'.join(words.splitlines()[:lines]))
        for name, words in SPEECH.findall(read_whole(path))
    ]
    often = collections.Counter(name for name, _ in found).most_common(most)
    if len(often) < most:
        raise UserError(f'{path} has {len(often)} speakers; name a text with {most}, or --speakers')
    named = {name for name, _ in often}
    return [{'text': words, 'label': name} for name, words in found if name in named]


def split(rows: list, seed: int, count: int) -> tuple[list, list]:
    """All but `count` rows, and these."""
    order = np.random.default_rng(seed).permutation(len(rows))
    rows = [rows[i] for i in order]
    return rows[count:], rows[:count]


def balanced(rows: list, seed: int) -> list:
    """Of each label as many as of the rarest."""
    random, by_label = np.random.default_rng(seed), collections.defaultdict(list)
    for row in rows:
        by_label[row['label']].append(row)
    least = min(map(len, by_label.values()))
    return [those[i] for those in by_label.values() for i in random.permutation(len(those))[:least]]


def write_rows(path: Path, rows: list) -> None:
    path.write_text(''.join(json.dumps(row) + '\n' for row in rows), 'utf-8')


def classify(folder, *argv) -> None:
    command = [sys.executable, SCRIPT, *map(str, argv)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, env=os.environ)
    if done.returncode:
        raise UserError(f'{done.stderr.strip()} (of classify.py {argv[0]}, which this runs)')


def evaluated(folder, rows: str, run) -> dict:
    flags = ['--model_name', f'checkpoint/{run}', '--output_path', 'out.json', '--batch_size', 32]
    classify(folder, 'evaluate', rows, *flags)
    return json.loads(Path(folder, 'out.json').read_text())


def majority(train: list, held: list) -> float:
    [(label, _)] = collections.Counter(row['label'] for row in train).most_common(1)
    return statistics.mean(row['label'] == label for row in held)


def bag_of_words(train: list, held: list) -> float:
    """scikit-learn's, with the strength of the penalty that five folds of the rows find best."""
    try:
        from sklearn.feature_extraction.text import CountVectorizer
        from sklearn.linear_model import LogisticRegression
        from sklearn.model_selection import GridSearchCV
        from sklearn.pipeline import make_pipeline
    except ImportError:
        raise UserError('scikit-learn is not installed; run: pip install scikit-learn') from None
    model = make_pipeline(CountVectorizer(), LogisticRegression(max_iter=1000))
    strengths = {'logisticregression__C': [0.01, 0.1, 1, 10]}
    search = GridSearchCV(model, strengths, cv=5)
    search.fit([row['text'] for row in train], [row['label'] for row in train])
    return search.score([row['text'] for row in held], [row['label'] for row in held])


def print_scores(scores: dict[str, list[float]]) -> None:
    print('| accuracy of | mean | lowest | highest | each |\n|---|---|---|---|---|')
    for name, found in scores.items():
        cells = [statistics.mean(found), min(found), max(found)]
        each = ' '.join(f'{score:.3f}' for score in found)
        print(f'| {name} | {" | ".join(f"{x:.3f}" for x in cells)} | {each} |')


if __name__ == '__main__':
    cli.run(speakers, cloze, speed)
