#!/usr/bin/env python3
"""Fetches OpenAI's released models."""

import sys

from gpt2 import cli, listing, releases
from gpt2.errors import UserError
from gpt2.model_folder import CLONE
from gpt2.options import with_help


@with_help
def download_model(
    *model_names: str,
    models_dir: str = 'models',
    base_url: str | None = None,
    list: bool = False,
    hub: str | None = None,
    revision: str | None = None,
):
    """
    Download models: 117M (124M), 345M (355M), 762M (774M), 1542M (1558M)

    Run it again to go on after an interruption, or to repair what is broken.

    :model_names : Strings, one or more of the eight names
    :base_url=None : Address of a mirror, if None (default), that in the environment variable
     GPT2_MODELS_URL, else OpenAI's own
    :list=False : Download nothing, but show the models and the runs that are there
    :hub=None : String, a model of Hugging Face's hub instead, as distilbert/distilgpt2
    :revision=None : String, its branch, tag or commit, if None (default), the newest
    """
    if hub:
        download_from_hub(hub, revision, model_names, models_dir)
        return
    if revision:
        raise UserError('--revision is for --hub; leave it out, or name a model of a hub')
    if list and model_names:
        raise UserError(f'--list downloads nothing; leave it out, or {model_names[0]}')
    if list:
        print(listing.table(models_dir))
        return
    beside = CLONE / 'download_model.py'  # wherever this copy of it is
    releases.download(model_names, models_dir, base_url, beside=beside, out=sys.stdout)


def download_from_hub(hub: str, revision: str | None, model_names, models_dir: str):
    if model_names:
        raise UserError(f'--hub names the model; leave it out, or {model_names[0]}')
    from gpt2.formats.folders import new_model, size_of, what_to_try

    name = hub.rstrip('/').rpartition('/')[2]
    to = new_model(name, models_dir)
    from gpt2.formats.hub import fetch

    found = fetch(hub, revision)
    print(f'{hub}: licence {found.license or "not said"}')
    from gpt2.formats.huggingface import from_huggingface

    from_huggingface(found.folder, to)
    print(size_of(to))
    print(what_to_try(name, models_dir))


if __name__ == '__main__':
    cli.run(download_model)
