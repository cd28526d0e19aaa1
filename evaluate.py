#!/usr/bin/env python3
"""Measures how well a model predicts: any text, LAMBADA, and the tasks of lm-eval."""

import json
from pathlib import Path

from gpt2 import cli
from gpt2.encoder import get_encoder
from gpt2.errors import UserError
from gpt2.model_folder import find_model, load_hparams


def perplexity(
    *files: str,
    model_name: str = '124M',
    stride: int | None = None,
    batch_size: int = 8,
    encoding: str = 'utf-8',
    column: str | None = None,
    output_path: str | None = None,
    models_dir: str = 'models',
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
    """
    from gpt2.perplexity import measure, read_documents

    if not files:
        raise UserError('no text is named; run: python evaluate.py perplexity FILE')
    folder, hparams = find(model_name, models_dir, batch_size, output_path)
    stride = hparams.n_ctx // 2 if stride is None else stride
    if not 1 <= stride <= hparams.n_ctx:
        raise UserError(f'--stride is from 1 to the n_ctx of {hparams.n_ctx}, not {stride}')
    enc = get_encoder(folder.name, folder.parent)
    documents = read_documents(enc, files, encoding, column)
    scorer = load_scorer(folder, hparams, batch_size)
    result = {'model': folder.name, 'stride': stride} | measure(scorer, documents, enc, stride)
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


def load_scorer(folder: Path, hparams, batch_size: int):
    cli.load_tensorflow()
    from gpt2 import checkpoint, score

    return score.Scorer(checkpoint.load_params(folder, hparams), hparams, batch_size)


def print_figures(figures: dict) -> None:
    for name, figure in figures.items():
        kind = '.6g' if isinstance(figure, float) else ',' if isinstance(figure, int) else ''
        print(f'{name.replace("_", " "):20}{figure:>12{kind}}')


def write_json(output_path: str | None, result: dict) -> None:
    from gpt2.checkpoint import write_text

    if output_path:
        write_text(Path(output_path), json.dumps(result, indent=2) + '\n')


if __name__ == '__main__':
    cli.run(perplexity)
