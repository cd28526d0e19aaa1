#!/usr/bin/env python3
"""Writes samples that begin from nothing."""

from gpt2 import cli, encoder, options, runtime
from gpt2.model_folder import find_model, load_hparams


def sample_model(
    model_name: str = '124M',
    seed: int | None = None,
    nsamples: int = 0,
    batch_size: int = 1,
    length: int | None = None,
    temperature: float = 1,
    top_k: int = 0,
    top_p: float = 1,
    models_dir: str = 'models',
    precision: str = 'float32',
):
    """
    Sample from the model without a prompt

    :model_name=124M : String, which model to use (124M, 355M, 774M, 1558M, or a folder's name)
    :seed=None : Integer seed for random number generators, fix seed to reproduce results
    :nsamples=0 : Number of samples to return, if 0, continues to generate samples until Ctrl-C
    :batch_size=1 : Number of samples made side by side (only affects speed/memory)
    :length=None : Number of tokens in generated text, if None (default), is determined by
     model hyperparameters
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
    chosen['length'] = length or hparams.n_ctx
    out = sample.samples(params, hparams=hparams, start_token=enc.end_of_text, **chosen)
    try:
        for number, ids in enumerate(out, start=1):
            print('=' * 40, 'SAMPLE', number, '=' * 40)
            print(enc.decode(ids[1:]), flush=True)
    except KeyboardInterrupt:
        if nsamples:
            raise


if __name__ == '__main__':
    cli.run(sample_model)
