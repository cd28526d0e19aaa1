#!/usr/bin/env python3
"""Fetches OpenAI's released models."""

import sys

from gpt2 import cli, releases
from gpt2.options import with_help


@with_help
def download_model(*model_names: str, models_dir: str = 'models', base_url: str | None = None):
    """
    Download models: 117M (124M), 345M (355M), 762M (774M), 1542M (1558M)

    Run it again to go on after an interruption, or to repair what is broken.

    :model_names : Strings, one or more of the eight names
    :base_url=None : Address of a mirror, if None (default), that in the environment variable
     GPT2_MODELS_URL, else OpenAI's own
    """
    releases.download(model_names, models_dir, base_url, beside=__file__, out=sys.stdout)


if __name__ == '__main__':
    cli.run(download_model)
