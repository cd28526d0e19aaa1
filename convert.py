#!/usr/bin/env python3
"""Takes models from other projects, and gives models to them."""

from pathlib import Path

import gpt2
from gpt2 import cli
from gpt2.files import check_new
from gpt2.formats.folders import new_model, size_of, what_to_try
from gpt2.options import with_help
from gpt2.paths import expanded


@with_help
def from_huggingface(folder: str, model_name: str, models_dir: str = 'models'):
    """
    Make a model of a Hugging Face folder of a GPT-2: config.json, model.safetensors, a tokenizer

    :folder : Path to what Transformers' save_pretrained wrote, or what a hub has
    :model_name : The model folder to make, in models_dir
    """
    to = new_model(model_name, models_dir)
    from gpt2.formats import huggingface

    huggingface.from_huggingface(Path(expanded(folder)), to)
    print(size_of(to))
    print(what_to_try(model_name, models_dir))


@with_help
def to_huggingface(model_name: str, folder: str, models_dir: str = 'models'):
    """
    Make a folder of a model that Transformers' from_pretrained opens

    :model_name : Which model to use: its name or its path
    :folder : Path to the new folder
    """
    to = Path(expanded(folder))
    check_new(to)
    found = gpt2.find(model_name, models_dir)
    from gpt2.formats import huggingface

    huggingface.to_huggingface(found, to)
    print(size_of(to))


@with_help
def to_saved_model(model_name: str, folder: str, models_dir: str = 'models'):
    """
    Make a SavedModel of a model, which tf.saved_model.load opens without this package

    :model_name : Which model to use: its name or its path
    :folder : Path to the new folder
    """
    to = Path(expanded(folder))
    check_new(to)
    found = gpt2.find(model_name, models_dir)
    from gpt2 import runtime

    runtime.start()
    from gpt2.formats import saved_model

    saved_model.to_saved_model(found, to)
    print(size_of(to))


if __name__ == '__main__':
    cli.run(from_huggingface, to_huggingface, to_saved_model)
