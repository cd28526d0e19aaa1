#!/usr/bin/env python3
"""Writes samples that begin from nothing."""

import gpt2
from gpt2 import cli, runtime
from gpt2.options import LESS_MEMORY, SamplingOptions, check_precision, check_range, with_help


@with_help
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

    :nsamples=0 : Number of samples to return, if 0, continues to generate samples until Ctrl-C
    :length=None : Number of tokens in generated text, if None (default), is determined by
     model hyperparameters
    """
    check_range('nsamples', nsamples, 0)
    check_range('batch_size', batch_size, 1)
    check_precision(precision)
    found = gpt2.find(model_name, models_dir)
    options = SamplingOptions(
        found.hparams.n_ctx if length is None else length, temperature, top_k, top_p, seed
    )
    options.check(found.hparams)
    params, hparams, enc = found.load(precision)
    from gpt2 import sample

    start = [enc.end_of_text]
    out = sample.samples(params, hparams, start, options, nsamples=nsamples, batch_size=batch_size)
    try:
        with runtime.explained(LESS_MEMORY):
            for number, ids in enumerate(out, start=1):
                print('=' * 40, 'SAMPLE', number, '=' * 40)
                print(enc.decode(ids.tolist()), flush=True)
    except KeyboardInterrupt:
        if nsamples:
            raise


if __name__ == '__main__':
    cli.run(sample_model)
