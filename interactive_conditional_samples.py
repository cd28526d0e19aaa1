#!/usr/bin/env python3
"""Reads prompts and continues them."""

import sys

import numpy as np

from gpt2 import cli, encoder, options, runtime
from gpt2.errors import UserError
from gpt2.model_folder import find_model, load_hparams


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

    :model_name=124M : String, which model to use (124M, 355M, 774M, 1558M, or a folder's name)
    :seed=None : Integer seed for random number generators, fix seed to reproduce results
    :nsamples=1 : Number of samples to return for each prompt, if 0, continues until Ctrl-C
    :batch_size=1 : Number of samples made side by side (only affects speed/memory)
    :length=None : Number of tokens in generated text, if None (default), is determined by
     model hyperparameters, and by the room that the prompt leaves
    :temperature=1 : Float value controlling randomness in boltzmann distribution. Lower
     temperature results in less random completions. As the temperature approaches zero, the
     model becomes deterministic and repetitive, at 0 it always takes the most probable token.
     Higher temperature results in more random completions.
    :top_k=0 : Integer value controlling diversity. 1 means only 1 word is considered for each
     step (token), resulting in deterministic completions, while 40 means 40 words are considered
     at each step. 0 (default) is a special setting meaning no restrictions. 40 generally is a
     good value.
    :top_p=1 : Float value from 0 to 1, nucleus sampling: only the most probable tokens, of this
     probability in all, are considered at each step. 1 (default) means no restrictions.
    :models_dir=models : Path to the parent folder of the model folders
    :precision=float32 : Type of the weights: float32, bfloat16 or float16
    """
    folder = find_model(model_name, models_dir, beside=__file__)
    hparams = load_hparams(folder)
    chosen = {'length': length, 'temperature': temperature, 'top_k': top_k, 'top_p': top_p}
    chosen |= {'seed': seed, 'nsamples': nsamples, 'batch_size': batch_size}
    options.check_options(hparams, precision=precision, **chosen)
    enc = encoder.get_encoder(folder.name, folder.parent)

    runtime.start(precision)
    from gpt2 import checkpoint, sample, weights

    with runtime.explained('set --precision bfloat16, or a smaller --model_name'):
        params = checkpoint.load_params(folder, hparams, weights.for_sampling(precision))
    watched = nsamples == 1 and sys.stdout.isatty()
    for prompt in cli.prompts('Model prompt >>> '):
        try:
            context = enc.encode(prompt)
            room = hparams.n_ctx + 1 - len(context)
            chosen['length'] = length or max(1, min(hparams.n_ctx // 2, room))
            decode = enc.decode_in_pieces()

            def show(ids, decode=decode):
                print(decode(ids[0]), end='', flush=True)

            chosen['show'] = show if watched else None
            out = sample.samples(params, hparams=hparams, context=context, **chosen)
            if watched:
                sample.check_context(np.array([context]), chosen['length'], hparams)
                print('=' * 40, 'SAMPLE', 1, '=' * 40)
                next(out)
                print(decode([], final=True))
            else:
                for number, ids in enumerate(out, start=1):
                    print('=' * 40, 'SAMPLE', number, '=' * 40)
                    print(enc.decode(ids[len(context) :]), flush=True)
            print('=' * 80)
        except UserError as error:
            print(error, file=sys.stderr)
        except KeyboardInterrupt:
            print()


if __name__ == '__main__':
    cli.run(interact_model)
