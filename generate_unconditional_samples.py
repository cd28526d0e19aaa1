#!/usr/bin/env python3
"""Writes samples that begin from nothing."""

import dataclasses
import sys

import gpt2
from gpt2 import cli, runtime, terminal
from gpt2.options import LESS_MEMORY, SamplingOptions, check_range, check_sampler, with_help


@with_help
def sample_model(
    model_name: str = '124M',
    seed: int | None = None,
    nsamples: int = 0,
    batch_size: int | None = 1,
    length: int | None = None,
    temperature: float = 1,
    top_k: int = 0,
    top_p: float = 1,
    models_dir: str = 'models',
    precision: str = 'float32',
    **options,
):
    """
    Sample from the model without a prompt

    :nsamples=0 : Number of samples to return, if 0, continues to generate samples until Ctrl-C
    :length=None : Number of tokens in generated text, if None (default), is determined by
     model hyperparameters: all of the context
    """
    batch_size = 1 if batch_size is None else batch_size
    check_sampler(nsamples, batch_size, top_p, precision)
    options = SamplingOptions(length, temperature, top_k, top_p, seed, **options)
    if options.num_beams > 1 and nsamples:
        check_range('nsamples', nsamples, 1, options.num_beams)
    found = gpt2.find(model_name, models_dir)
    if options.num_beams == 1:  # beams have what fits
        options = dataclasses.replace(options, length=length or found.hparams.n_ctx)
    options.check(found.hparams)
    model = found.load(precision)
    try:
        with runtime.explained(LESS_MEMORY):
            start = [model.enc.end_of_text]
            terminal.print_samples(model, start, options, nsamples, batch_size)
    except KeyboardInterrupt:
        if nsamples:
            raise
        if sys.stdout.isatty():  # which shows a ^C
            print()


if __name__ == '__main__':
    cli.run(sample_model)
