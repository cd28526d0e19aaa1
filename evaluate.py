#!/usr/bin/env python3
"""Measures how well a model predicts: any text, LAMBADA, and the tasks of lm-eval."""

import importlib.util
import json
import os
import re
import shlex
import sys
from pathlib import Path

import gpt2
from gpt2 import cli, runtime
from gpt2.errors import UserError
from gpt2.files import write
from gpt2.model_folder import parse_object
from gpt2.options import MOST_ROWS, check_most, check_precision, with_help
from gpt2.paths import check_parent, expanded


@with_help
def perplexity(
    *files: str,
    model_name: str = '124M',
    stride: int | None = None,
    batch_size: int = 8,
    encoding: str = 'utf-8',
    column: str | None = None,
    output_path: str | None = None,
    models_dir: str = 'models',
    precision: str = 'float32',
):
    """
    Perplexity of texts, by a window of the model's n_ctx tokens that slides over them

    Each file is a document of its own, as is each row of a .csv or .jsonl and each chunk of an
    .npz, and no window leaves it. A document's first token has nothing before it and is not
    predicted. Words are what stands between blanks, bytes those of UTF-8; an end-of-text token
    is neither.

    :files : Strings, one or more: text files, folders, patterns, or what encode.py made
    :stride=None : By how many tokens the window moves on, if None (default), half of n_ctx; fewer
     take longer, and leave each token more that stands before it
    :batch_size=8 : How many windows are computed side by side (only affects speed/memory)
    :encoding=utf-8 : Of the text files, latin-1 or utf-16 for example
    :column=None : String, which column of a .csv or .jsonl is the text, if None (default), the
     only one, or the one called text
    """
    from gpt2.evaluation.perplexity import measure, read_documents

    if not files:
        raise UserError('no text is named; run: python evaluate.py perplexity FILE')
    found = find(model_name, models_dir, batch_size, output_path, precision)
    n_ctx = found.hparams.n_ctx
    stride = n_ctx // 2 if stride is None else stride
    if not 1 <= stride <= n_ctx:
        raise UserError(f'--stride is from 1 to the n_ctx of {n_ctx}, not {stride}')
    documents = read_documents(found.enc, files, encoding, column, say=print)
    scorer = load_scorer(found, batch_size, precision)
    result = {'model': found.name, 'stride': stride}
    result |= measure(scorer, documents, found.enc, stride)
    write_json(output_path, result)
    print_figures(result)


@with_help
def tasks(
    names: str,
    model_name: str = '124M',
    num_fewshot: str | None = None,
    limit: int | None = None,
    batch_size: int = 8,
    seed: int = 1234,
    include_path: str | None = None,
    output_path: str | None = None,
    models_dir: str = 'models',
    precision: str = 'float32',
):
    """
    Tasks of lm-eval, EleutherAI's harness, or your own: python evaluate.py tasks NAME,NAME

    :names : String, tasks, groups or patterns of their names, separated by commas; those that
     there are: lm-eval ls tasks
    :num_fewshot=None : How many examples stand before each question, or several such numbers:
     0,1,5; if None (default), as the task says
    :limit=None : Only so many questions of each task
    :batch_size=8 : How many rows are computed side by side (only affects speed/memory)
    :seed=1234 : Integer that fixes the choice of examples, and what is drawn
    :include_path=None : Path to a folder with YAML files of further tasks, of people you trust:
     they may run Python (!function)
    """
    asked = list(filter(None, names.split(',')))
    if not asked:
        raise UserError('no task is named; run: lm-eval ls tasks')
    found = find(model_name, models_dir, batch_size, output_path, precision)
    shots = parse_shots(num_fewshot)
    check_limit(limit)
    if include_path is not None:
        include_path = expanded(include_path)
        if not Path(include_path).is_dir():
            raise UserError(
                f'there is no folder {include_path}; set --include_path to one of YAML files'
            )
    if not importlib.util.find_spec('lm_eval'):
        raise UserError("lm-eval is not installed; run: pip install -e '.[eval]'")
    runtime.prepare_lm_eval()
    here = Path(__file__).resolve().parent  # lm-eval imports an evaluate that is not this file
    sys.path[:] = [path for path in sys.path if Path(path).resolve() != here]
    from gpt2.evaluation.lm_eval_tasks import find_tasks, run_tasks, table

    loaded = find_tasks(asked, include_path)
    model = found.load(weights_for(precision))
    from gpt2.evaluation.lm_eval_model import GPT2

    runs = run_tasks(GPT2.of(model, batch_size, seed), loaded, shots, limit, seed)
    about = {'model': found.name, 'limit': limit, 'seed': seed}
    write_json(output_path, about | {'runs': runs})
    print(table(runs))


def parse_shots(num_fewshot: str | None) -> list[int | None]:
    """'0,1,5' -> [0, 1, 5]; None -> [None]."""
    if num_fewshot is None:
        return [None]
    if not re.fullmatch('[0-9]{1,4}(,[0-9]{1,4})*', num_fewshot):
        raise UserError(f'--num_fewshot is whole numbers, as in 0,1,5, not {num_fewshot}')
    return [int(number) for number in num_fewshot.split(',')]


def check_limit(limit: int | None) -> None:
    if limit is not None and limit < 1:
        raise UserError(f'--limit is at least 1, not {limit}')


@with_help
def lambada(
    model_name: str = '124M',
    limit: int | None = None,
    batch_size: int = 8,
    data_dir: str = 'data',
    base_url: str | None = None,
    output_path: str | None = None,
    models_dir: str = 'models',
    precision: str = 'float32',
):
    """
    The last words of LAMBADA's passages, as OpenAI prepared and counted them

    The set is fetched once, 1.8 MB, and verified. The GPT-2 paper's accuracy is known to be that
    of the last token, which is easier where a word has several; others count the whole word.

    :limit=None : Only so many passages
    :batch_size=8 : How many passages are computed side by side (only affects speed/memory)
    :data_dir=data : Path to the folder where the set is, or is put
    :base_url=None : Address of a mirror, if None (default), that in the environment variable
     GPT2_DATA_URL, else OpenAI's own
    """
    found = find(model_name, models_dir, batch_size, output_path, precision)
    check_limit(limit)
    from gpt2.evaluation.lambada import find_lambada, measure, read_examples

    again = shlex.join(['python', 'evaluate.py', *sys.argv[1:]])
    path = find_lambada(data_dir, base_url, again, out=sys.stdout)
    examples = read_examples(path, found.enc, limit)
    result = {'model': found.name}
    result |= measure(load_scorer(found, batch_size, precision), examples)
    write_json(output_path, result)
    print_figures(result)


def find(model_name: str, models_dir: str, batch_size: int, output_path: str | None, precision):
    """The model, found but not loaded, once the other flags have been looked at."""
    if batch_size < 1:
        raise UserError(f'--batch_size is at least 1, not {batch_size}')
    check_most('batch_size', batch_size, MOST_ROWS)
    check_precision(precision)
    if output_path is not None:
        check_output(Path(expanded(output_path)))
    return gpt2.find(model_name, models_dir)


def check_output(path: Path) -> None:
    """Raise UserError, before the work is done, where its result cannot be written."""
    check_parent(path)
    if path.exists() and not path.is_file() or not os.access(path.parent, os.W_OK):
        raise UserError(f'{path} cannot be written; set --output_path to another file')
    if path.exists() and not is_result(path):
        raise UserError(f'{path} holds something else than a result; set --output_path elsewhere')


def is_result(path: Path) -> bool:
    """Whether a file is what write_json writes, or empty."""
    try:
        content = path.read_bytes()
        return not content or 'model' in parse_object(content)
    except (OSError, ValueError):
        return False


def weights_for(precision: str) -> str | None:
    """What Found.load is asked for: where so many rows are read, float32 as it is stored."""
    return None if precision == 'float32' else precision


def load_scorer(found, batch_size: int, precision: str):
    params, hparams, _ = found.load(weights_for(precision))
    from gpt2.evaluation import score

    return score.Scorer(params, hparams, batch_size)


def print_figures(figures: dict) -> None:
    for name, figure in figures.items():
        kind = '#.5g' if isinstance(figure, float) else ',' if isinstance(figure, int) else ''
        print(f'{name.replace("_", " "):20}{figure:{kind}}')


def write_json(output_path: str | None, result: dict) -> None:
    if output_path is not None:
        write(expanded(output_path), json.dumps(result, indent=2) + '\n')


if __name__ == '__main__':
    cli.run(perplexity, tasks, lambada)
