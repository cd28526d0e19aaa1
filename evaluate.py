#!/usr/bin/env python3
"""Measures how well a model predicts: any text, LAMBADA, and the tasks of lm-eval."""

import importlib.util
import json
import os
import shlex
import sys
from pathlib import Path

from gpt2 import cli, runtime
from gpt2.encoder import get_encoder
from gpt2.errors import UserError
from gpt2.model_folder import find_model, load_hparams
from gpt2.options import check_precision


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
    :model_name=124M : String, which model to use (124M, 355M, 774M, 1558M, or a folder's name)
    :stride=None : By how many tokens the window moves on, if None (default), half of n_ctx; fewer
     take longer, and leave each token more that stands before it
    :batch_size=8 : How many windows are computed side by side (only affects speed/memory)
    :encoding=utf-8 : Of the text files, latin-1 or utf-16 for example
    :column=None : String, which column of a .csv or .jsonl is the text, if None (default), the
     only one, or the one called text
    :output_path=None : Path to a file for the result as json
    :models_dir=models : Path to the parent folder of the model folders
    :precision=float32 : Type of the weights: float32, bfloat16 or float16
    """
    from gpt2.evaluation.perplexity import measure, read_documents

    if not files:
        raise UserError('no text is named; run: python evaluate.py perplexity FILE')
    folder, hparams = find(model_name, models_dir, batch_size, output_path)
    stride = hparams.n_ctx // 2 if stride is None else stride
    if not 1 <= stride <= hparams.n_ctx:
        raise UserError(f'--stride is from 1 to the n_ctx of {hparams.n_ctx}, not {stride}')
    check_precision(precision)
    enc = get_encoder(folder.name, folder.parent)
    documents = read_documents(enc, files, encoding, column)
    scorer = load_scorer(folder, hparams, batch_size, precision)
    result = {'model': folder.name, 'stride': stride} | measure(scorer, documents, enc, stride)
    print_figures(result)
    write_json(output_path, result)


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
):
    """
    Tasks of lm-eval, EleutherAI's harness, or your own: python evaluate.py tasks NAME,NAME

    :names : String, tasks, groups or patterns of their names, separated by commas; those that
     there are: lm-eval ls tasks
    :model_name=124M : String, which model to use (124M, 355M, 774M, 1558M, or a folder's name)
    :num_fewshot=None : How many examples stand before each question, or several such numbers:
     0,1,5; if None (default), as the task says
    :limit=None : Only so many questions of each task
    :batch_size=8 : How many rows are computed side by side (only affects speed/memory)
    :seed=1234 : Integer that fixes the choice of examples, and what is drawn
    :include_path=None : Path to a folder with YAML files of further tasks
    :output_path=None : Path to a file for the results as json
    :models_dir=models : Path to the parent folder of the model folders
    """
    folder, _ = find(model_name, models_dir, batch_size, output_path)
    shots = parse_shots(num_fewshot)
    check_limit(limit)
    if include_path and not Path(include_path).is_dir():
        raise UserError(
            f'there is no folder {include_path}; set --include_path to one of YAML files'
        )
    if not importlib.util.find_spec('lm_eval'):
        raise UserError("lm-eval is not installed; run: pip install -e '.[eval]'")
    if not sys.stderr.isatty():
        os.environ.setdefault('TQDM_DISABLE', '1')  # for lm-eval's bars, which do not look
    here = Path(__file__).resolve().parent  # lm-eval imports an evaluate that is not this file
    sys.path[:] = [path for path in sys.path if Path(path).resolve() != here]
    from gpt2.evaluation.lm_eval_tasks import find_tasks, run_tasks, table

    loaded = find_tasks(names.split(','), include_path)
    runtime.start()
    from gpt2.evaluation.lm_eval_model import GPT2

    lm = GPT2(folder.name, folder.parent, batch_size, seed)
    runs = run_tasks(lm, loaded, shots, limit, seed)
    print(table(runs))
    write_json(output_path, {'model': folder.name, 'limit': limit, 'seed': seed, 'runs': runs})


def parse_shots(num_fewshot: str | None) -> list[int | None]:
    """'0,1,5' -> [0, 1, 5]; None -> [None]."""
    try:
        shots = (
            [None] if num_fewshot is None else [int(number) for number in num_fewshot.split(',')]
        )
    except ValueError:
        shots = [-1]
    if any(number is not None and number < 0 for number in shots):
        raise UserError(f'--num_fewshot is whole numbers, as in 0,1,5, not {num_fewshot}')
    return shots


def check_limit(limit: int | None) -> None:
    if limit is not None and limit < 1:
        raise UserError(f'--limit is at least 1, not {limit}')


def lambada(
    model_name: str = '124M',
    limit: int | None = None,
    batch_size: int = 8,
    data_dir: str = 'data',
    base_url: str | None = None,
    output_path: str | None = None,
    models_dir: str = 'models',
):
    """
    The last words of LAMBADA's passages, as OpenAI prepared and counted them

    The set is fetched once, 1.8 MB, and verified. The GPT-2 paper's accuracy is known to be that
    of the last token, which is easier where a word has several; others count the whole word.

    :model_name=124M : String, which model to use (124M, 355M, 774M, 1558M, or a folder's name)
    :limit=None : Only so many passages
    :batch_size=8 : How many passages are computed side by side (only affects speed/memory)
    :data_dir=data : Path to the folder where the set is, or is put
    :base_url=None : Address of a mirror, if None (default), that in the environment variable
     GPT2_DATA_URL, else OpenAI's own
    :output_path=None : Path to a file for the result as json
    :models_dir=models : Path to the parent folder of the model folders
    """
    folder, hparams = find(model_name, models_dir, batch_size, output_path)
    check_limit(limit)
    from gpt2.evaluation.lambada import find_lambada, measure, read_examples

    again = shlex.join(['python', 'evaluate.py', *sys.argv[1:]])
    path = find_lambada(data_dir, base_url, again)
    examples = read_examples(path, get_encoder(folder.name, folder.parent), limit)
    result = {'model': folder.name} | measure(load_scorer(folder, hparams, batch_size), examples)
    print_figures(result)
    write_json(output_path, result)


def find(model_name: str, models_dir: str, batch_size: int, output_path: str | None):
    """The model's folder and hyperparameters, once the other flags have been looked at."""
    if batch_size < 1:
        raise UserError(f'--batch_size is at least 1, not {batch_size}')
    if output_path and not Path(output_path).parent.is_dir():
        place = Path(output_path).parent
        raise UserError(f'there is no folder {place} for {output_path}; run: mkdir {place}')
    folder = find_model(model_name, models_dir, beside=__file__)
    return folder, load_hparams(folder)


def load_scorer(folder: Path, hparams, batch_size: int, precision: str = 'float32'):
    runtime.start(precision)
    from gpt2 import checkpoint, weights
    from gpt2.evaluation import score

    convert = None if precision == 'float32' else weights.for_sampling(precision)
    with runtime.explained('take a smaller --model_name'):
        params = checkpoint.load_params(folder, hparams, convert)
    return score.Scorer(params, hparams, batch_size)


def print_figures(figures: dict) -> None:
    for name, figure in figures.items():
        kind = '#.5g' if isinstance(figure, float) else ',' if isinstance(figure, int) else ''
        print(f'{name.replace("_", " "):20}{figure:{kind}}')


def write_json(output_path: str | None, result: dict) -> None:
    from gpt2.checkpoint import write_text

    if output_path:
        write_text(Path(output_path), json.dumps(result, indent=2) + '\n')


if __name__ == '__main__':
    cli.run(perplexity, tasks, lambada)
