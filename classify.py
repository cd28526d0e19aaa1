#!/usr/bin/env python3
"""Teaches a model to answer: which label, which choice, what number; with a head, or as a cloze."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import gpt2
from gpt2 import cli, files, runtime
from gpt2.classification import job as jobs
from gpt2.classification.cloze import read_patterns
from gpt2.classification.rows import load_rows, read_lines
from gpt2.classification.task import read_task
from gpt2.errors import UserError
from gpt2.options import MOST_ROWS, check_most, check_range, with_help
from gpt2.paths import check_parent, expanded
from gpt2.training.flags import tells_given


@with_help
@tells_given
def train(
    task: str | None = None,
    kind: str = 'classification',
    model_name: str = '117M',
    text: str = 'text',
    second: str = 'second',
    choices: str = 'choices',
    label: str = 'label',
    encoding: str = 'utf-8',
    val_task: str | None = None,
    patterns: str | None = None,
    lm_weight: float = 0.5,
    head_bias: bool = True,
    head_dropout: float = 0.1,
    dropout: float = 0.1,
    learning_rate: float = 6.25e-5,
    warmup: float = 0.002,
    epochs: int = 3,
    batch_size: int = 32,
    accumulate_gradients: int = 1,
    clip_norm: float = 1.0,
    weight_decay: float = 0.01,
    optimizer: str = 'adam',
    memory_saving_gradients: bool = False,
    only_train_transformer_layers: bool = False,
    precision: str = 'float32',
    max_steps: int | None = None,
    seed: int | None = None,
    run_name: str = 'classifier',
    restore_from: str = 'latest',
    save_every: int = 1000,
    keep_checkpoints: int = 1,
    val_every: int | None = None,
    log_every: int = 1,
    models_dir: str = 'models',
    *,
    given=frozenset(),
):
    """
    Fine-tune a model on rows with answers, as GPT-1 was

    Ctrl-C saves and stops, and the same command goes on from there. The defaults are GPT-1's.

    Rows:
    :task=None : String, a .csv or .jsonl file with a row for each example; if None (default), that
     of the run that goes on
    :kind=classification : classification (of a text), pair (of two), similarity (of two in any
     order), multiple_choice, regression (of a text or two), or cloze (patterns with a blank)
    :text=text : Column of the text, or several that are joined: one,two
    :second=second : Column of the second text
    :choices=choices : Column with a list of choices, or their columns: one,two
    :label=label : Column of the answer: a label, the number of a choice, from 0, or a number
    :encoding=utf-8 : Of the files
    :val_task=None : String, a file for the validation; if None (default), each tenth row
    :patterns=None : With --kind cloze, a .json file of patterns and verbalizers

    Model:
    :model_name
    :models_dir
    :restore_from=latest : latest (of this run, else the model), fresh (the model, whatever the
     run has), scratch (random parameters), or a checkpoint, by its folder or its prefix
    :head_bias=True : Whether the head has a bias, for which Transformers' sequence classifier has
     no room
    :precision=float32 : float32, bfloat16 or float16: what to compute in
    :memory_saving_gradients=False : Compute what is inside a block anew for its gradients
    :dropout=0.1 : Share of activations and attention weights dropped
    :head_dropout=0.1 : Share of what the head reads dropped

    Learning:
    :lm_weight=0.5 : How much the loss of language modelling counts beside that of the task
    :learning_rate=6.25e-05 : Learning rate, at its highest
    :warmup=0.002 : Share of the steps in which it rises; it falls linearly to 0 in the others
    :epochs=3 : How often each row is learnt from
    :batch_size=32 : Rows in a batch
    :accumulate_gradients=1 : Average the gradients of so many batches for one step
    :clip_norm=1.0 : Largest norm of the gradient
    :weight_decay=0.01 : Of matrices, decoupled
    :optimizer=adam : adam or sgd
    :only_train_transformer_layers=False : Leave the embeddings and the last norm as they are
    :max_steps=None : Stop earlier, when the run has so many steps
    :seed=None : Integer that fixes the head, the order of the rows and the dropout

    Saving:
    :run_name=classifier : The run's folder in checkpoint
    :save_every=1000 : Write a checkpoint every so many steps, 0 only at the end
    :keep_checkpoints=1 : How many of the run's checkpoints to keep
    :val_every=None : Validate every so many steps, 0 never, if None (default), after each epoch;
     the model with the lowest loss is kept in best
    :log_every=1 : Where there is no terminal, tell the loss every so many steps, 0 never
    """
    flags = SimpleNamespace(**locals())
    del flags.given
    job = jobs.prepare(flags, say, given)
    runtime.start(job.flags.precision, training=True)
    from gpt2.training import loop

    step = loop.train(job, say)
    for line in jobs.last_lines(job, step):
        say(line)


@with_help
def evaluate(
    task: str,
    model_name: str = 'checkpoint/classifier',
    encoding: str = 'utf-8',
    batch_size: int = 8,
    output_path: str | None = None,
    models_dir: str = 'models',
):
    """
    How often a model that was trained here is right

    :task : String, a .csv or .jsonl file with the columns of the training
    :model_name=checkpoint/classifier : String, the folder of a run, or its best
    :encoding=utf-8 : Of the file
    :batch_size=8 : How many texts are computed side by side (only affects speed/memory)
    """
    found, learnt = find(model_name, models_dir, batch_size, output_path)
    rows = load_rows(task, encoding)
    answerer = load_answerer(found, learnt, batch_size)
    figures, labels = answerer.answer(rows, task, labelled=True)
    tell({'model': found.name, 'rows': len(rows)} | answerer.measure(figures, labels), output_path)


@with_help
def predict(
    file: str = '-',
    model_name: str = 'checkpoint/classifier',
    encoding: str = 'utf-8',
    batch_size: int = 8,
    output_path: str | None = None,
    models_dir: str = 'models',
):
    """
    Answer rows: a line of JSON for each, with probabilities

    :file=- : String, a .csv or .jsonl file with the columns of the training, or - for lines of
     stdin: rows of JSON, or texts where a row is one text
    :model_name=checkpoint/classifier : String, the folder of a run, or its best
    :encoding=utf-8 : Of the file
    :batch_size=8 : How many texts are computed side by side (only affects speed/memory)
    :output_path=None : Path to a file for the lines, if None (default), they are printed
    """
    found, learnt = find(model_name, models_dir, batch_size, output_path)
    rows = read_lines(sys.stdin, learnt) if file == '-' else load_rows(file, encoding)
    answerer = load_answerer(found, learnt, batch_size)
    figures, _ = answerer.answer(rows, 'stdin' if file == '-' else file, labelled=False)
    lines = [json.dumps(row, ensure_ascii=False) for row in answerer.told(figures)]
    if output_path is None:
        for line in lines:
            print(line)
    else:
        files.write(expanded(output_path), '\n'.join([*lines, '']))


@with_help
def cloze(
    task: str,
    patterns: str,
    model_name: str = '117M',
    examples: str | None = None,
    calibrate: bool = False,
    label: str = 'label',
    encoding: str = 'utf-8',
    batch_size: int = 8,
    output_path: str | None = None,
    models_dir: str = 'models',
):
    """
    How often a model is right that was not trained for it: by which word it fills a blank with

    The scores of a label are its word's mean log-probability after the pattern. Training on a few
    rows: python classify.py train --kind cloze --patterns FILE

    :task : String, a .csv or .jsonl file
    :patterns : String, a .json file of patterns and verbalizers
    :examples=None : String, a file with some rows more, by whose accuracy the patterns are
     weighted; if None (default), all count the same
    :calibrate=False : Subtract what the model expects in the blank before it has read a text
    :label=label : Column of the label
    :encoding=utf-8 : Of the files
    :batch_size=8 : How many texts are computed side by side (only affects speed/memory)
    """
    found = check_model(model_name, models_dir, batch_size, output_path)
    learnt = read_patterns(patterns, label)
    rows = load_rows(task, encoding)
    more = load_rows(examples, encoding) if examples else []
    answerer = load_answerer(found, learnt, batch_size, calibrate)
    result = {'model': found.name, 'rows': len(rows)}
    if more:
        answerer.weigh(more, examples)
    figures, labels = answerer.answer(rows, task, labelled=True)
    result |= answerer.measure(figures, labels)
    tell(result, output_path)


def say(line: str) -> None:
    print(line, flush=True)


def check_model(model_name: str, models_dir: str, batch_size: int, output_path: str | None):
    """The model, found but not loaded, once the other flags have been looked at."""
    check_range('batch_size', batch_size, 1)
    check_most('batch_size', batch_size, MOST_ROWS)
    if output_path is not None:
        path = Path(expanded(output_path))
        check_parent(path)
        if path.exists() and not path.is_file():
            raise UserError(f'{path} is no file; set --output_path to another place')
    return gpt2.find(model_name, models_dir)


def find(model_name: str, models_dir: str, batch_size: int, output_path: str | None):
    """The same of a model that has learnt a task, and the task."""
    found = check_model(model_name, models_dir, batch_size, output_path)
    return found, read_task(found.folder)


def load_answerer(found, task, batch_size: int, calibrate: bool = False):
    model = found.load()
    from gpt2.classification.answering import Answerer

    return Answerer.of(model, found.prefix, task, batch_size, calibrate)


def tell(result: dict, output_path: str | None) -> None:
    """Print figures, a line for each; and write them."""
    for name, figure in result.items():
        kind = '.4f' if isinstance(figure, float) else ''
        print(f'{name.replace("_", " "):24}{figure:{kind}}')
    if output_path is not None:
        files.write(expanded(output_path), json.dumps(result, indent=2) + '\n')


if __name__ == '__main__':
    cli.run(train, evaluate, predict, cloze)
