#!/usr/bin/env python3
"""Reads prompts and continues them."""

import dataclasses
import sys

import gpt2
from gpt2 import cli, runtime
from gpt2.options import LESS_MEMORY, SamplingOptions, check_precision, check_range, with_help


@with_help
def interact_model(
    model_name: str = '124M',
    seed: int | None = None,
    nsamples: int = 1,
    batch_size: int = 1,
    length: int | None = None,
    temperature: float = 1,
    top_k: int = 0,
    top_p: float = 1,
    models_dir: str = 'models',
    precision: str = 'float32',
):
    """
    Interactively run the model

    :nsamples=1 : Number of samples to return for each prompt, if 0, continues until Ctrl-C
    :length=None : Number of tokens in generated text, if None (default), is determined by
     model hyperparameters, and by the room that the prompt leaves
    """
    check_range('nsamples', nsamples, 0)
    check_range('batch_size', batch_size, 1)
    check_precision(precision)
    options = SamplingOptions(length, temperature, top_k, top_p, seed)
    found = gpt2.find(model_name, models_dir)
    options.check(found.hparams)
    params, hparams, enc = found.load(precision)
    from gpt2 import sample

    watched = nsamples == 1 and sys.stdout.isatty()
    for prompt in cli.prompts('Model prompt >>> '):
        try:
            context = enc.encode(prompt)
            room = hparams.n_ctx + 1 - len(context)
            chosen = length or max(1, min(hparams.n_ctx // 2, room))
            options = dataclasses.replace(options, length=chosen)
            with runtime.explained(LESS_MEMORY):
                if watched:
                    pieces = sample.generate(params, hparams, [context], options)
                    show_as_it_comes(pieces, enc.decode_in_pieces())
                else:
                    counts = {'nsamples': nsamples, 'batch_size': batch_size}
                    show(sample.samples(params, hparams, context, options, **counts), enc)
            print('=' * 80)
        except gpt2.UserError as error:
            print(error, file=sys.stderr)
        except KeyboardInterrupt:
            print()


def show(out, enc) -> None:
    for number, ids in enumerate(out, start=1):
        print('=' * 40, 'SAMPLE', number, '=' * 40)
        print(enc.decode(ids.tolist()), flush=True)


def show_as_it_comes(pieces, decode) -> None:
    for number, piece in enumerate(pieces):
        if number == 0:
            print('=' * 40, 'SAMPLE', 1, '=' * 40)
        print(decode(piece[0].tolist()), end='', flush=True)
    print(decode([], final=True))


if __name__ == '__main__':
    cli.run(interact_model)
