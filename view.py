#!/usr/bin/env python3
"""Makes pages for a browser: where a model looks, and what it predicts."""

import re
from pathlib import Path

import gpt2
from gpt2 import cli
from gpt2.errors import UserError
from gpt2.files import write
from gpt2.options import check_context, check_precision, with_help
from gpt2.paths import check_parent, expanded
from gpt2.views.pages import Page, check_attention


@with_help
def attention(
    prompt: str,
    model_name: str = '124M',
    layer: int = 0,
    heads: str | None = None,
    output: str = 'attention.html',
    models_dir: str = 'models',
    precision: str = 'float32',
):
    """
    Write a page that shows where each head of each layer looks

    :prompt : String, the text that is looked at
    :layer=0 : The layer that is shown first, counted from 0
    :heads=None : String, the heads that are shown first, as in 0,3; if None (default), all
    :output=attention.html : Path to the file for the page
    """
    found, ids = find(prompt, model_name, models_dir, output, precision)
    heads = check_attention(found.hparams, len(ids), layer, parse_heads(heads))
    from gpt2 import views

    save(views.attention(load(found, precision), ids, layer, heads), output, ids)


@with_help
def predictions(
    prompt: str,
    model_name: str = '124M',
    output: str = 'predictions.html',
    models_dir: str = 'models',
    precision: str = 'float32',
):
    """
    Write a page that shows what the model, and each layer, expects at each place of a text

    :prompt : String, the text that is looked at
    :output=predictions.html : Path to the file for the page
    """
    found, ids = find(prompt, model_name, models_dir, output, precision)
    from gpt2 import views

    save(views.predictions(load(found, precision), ids), output, ids)


def find(prompt: str, model_name: str, models_dir: str, output: str, precision: str):
    """The model, found but not loaded, and the prompt's ids, once the other flags are looked at."""
    check_precision(precision)
    path = Path(expanded(output))
    check_parent(path)
    if path.exists() and not (path.is_file() and is_page(path)):
        raise UserError(f'{path} holds something else than a page; set --output elsewhere')
    found = gpt2.find(model_name, models_dir)
    return found, check_context(found.enc.encode(prompt), found.hparams)


def is_page(path: Path) -> bool:
    """Whether a file is HTML, or empty."""
    with open(path, 'rb') as file:
        return file.read(9).lower() in (b'', b'<!doctype')


def parse_heads(heads: str | None) -> list[int] | None:
    """'0,3' -> [0, 3]."""
    if heads is None:
        return None
    if not re.fullmatch('[0-9]{1,4}(,[0-9]{1,4})*', heads):
        raise UserError(f'--heads is whole numbers, as in 0,3, not {heads}')
    return [int(number) for number in heads.split(',')]


def load(found, precision: str):
    return found.load(None if precision == 'float32' else precision)


def save(page: Page, output: str, ids) -> None:
    write(expanded(output), page.html)
    print(f'{output}: {len(ids)} {"token" if len(ids) == 1 else "tokens"}; open it in a browser')


if __name__ == '__main__':
    cli.run(attention, predictions)
