#!/usr/bin/env python3
"""Encodes text once and for all, so that a training starts at once."""

from gpt2 import cli
from gpt2.data.encode_dataset import encode_dataset
from gpt2.errors import UserError
from gpt2.model_folder import VOCABULARY, find_model
from gpt2.options import with_help


@with_help
def encode(
    *paths: str,
    model_name: str = '117M',
    combine: int = 50000,
    encoding: str = 'utf-8',
    column: str | None = None,
    legacy_separator: bool = False,
    workers: int | None = None,
    bpe_dropout: float = 0.0,
    copies: int = 1,
    models_dir: str = 'models',
):
    """
    Encode text for train.py: python encode.py IN ... OUT.npz

    IN is a text file, a folder or a pattern ('*.txt', in quotes); each file is one document,
    and each row of a .csv or .jsonl.

    :paths : Strings, one or more of IN, and OUT.npz
    :model_name=117M : String, whose vocabulary to use; all the released models have the same
    :combine=50000 : Put texts shorter than so many letters together in one chunk, with the
     end-of-text token between them
    :encoding=utf-8 : Of the text files, latin-1 or utf-16 for example
    :column=None : String, which column of a .csv or .jsonl is the text, if None (default), the
     only one, or the one called text
    :legacy_separator=False : Separate texts by the letters of <|endoftext|>, as older data has it
    :workers=None : How many processes encode, if None (default), one for each core
    :bpe_dropout=0.0 : Share of merges left out at random: a small text, encoded so in many
     --copies, teaches a model the letters of its tokens (BPE-dropout)
    :copies=1 : Encode everything so many times
    """
    if len(paths) < 2:
        raise UserError('say what to encode and where to; run: python encode.py TEXT OUT.npz')
    folder = find_model(model_name, models_dir, files=VOCABULARY)
    *paths, out = paths
    text = combine, encoding, column, legacy_separator
    encode_dataset(folder, paths, out, *text, workers, bpe_dropout, copies, say=print)


if __name__ == '__main__':
    cli.run(encode)
