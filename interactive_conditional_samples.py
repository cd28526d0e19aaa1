#!/usr/bin/env python3
"""Reads prompts and continues them."""

import dataclasses
import sys
from pathlib import Path

import gpt2
from gpt2 import cli, runtime, terminal
from gpt2.errors import UserError
from gpt2.options import LESS_MEMORY, SamplingOptions, check_range, check_sampler, with_help
from gpt2.paths import check_parent, expanded
from gpt2.session import Session


@with_help
def interact_model(
    model_name: str = '124M',
    seed: int | None = None,
    nsamples: int = 1,
    batch_size: int | None = 1,
    length: int | None = None,
    temperature: float = 1,
    top_k: int = 0,
    top_p: float = 1,
    models_dir: str = 'models',
    precision: str = 'float32',
    prompt: str | None = None,
    prompts: str | None = None,
    encoding: str = 'utf-8',
    column: str | None = None,
    output_path: str | None = None,
    template: str | bool | None = None,
    **options,
):
    """
    Interactively run the model

    :nsamples=1 : Number of samples to return for each prompt, if 0, continues until Ctrl-C
    :length=None : Number of tokens in generated text, if None (default), is determined by
     model hyperparameters: half of the context

    Prompts and files:
    :prompt=None : Continue this text, and ask for none
    :prompts=None : Continue the lines of this text file, or the rows of this .csv or .jsonl; to
     output_path as many side by side as batch_size says
    :encoding=utf-8 : Of the file of prompts
    :column=None : Which column of a .csv or .jsonl is the prompt, if None (default), the only one,
     or the one called text
    :output_path=None : Path to a .jsonl file for the samples, one a line; those that are there
     already are not made again
    :template=None : Ask for the fields of this template, up to the one that is generated, and end
     with what follows it; without a value, of the template that the model was trained with
    :logprobs
    """
    batch_size = 1 if batch_size is None else batch_size
    check_sampler(nsamples, batch_size, top_p, precision)
    options = SamplingOptions(length, temperature, top_k, top_p, seed, **options)
    if options.num_beams > 1 and nsamples:
        check_range('nsamples', nsamples, 1, options.num_beams)
    given = find_prompts(prompt, prompts, encoding, column)
    if template and given is not None:
        raise UserError('--template asks for its fields; leave out --prompt and --prompts')
    if output_path:
        output_path = check_output(output_path, given, nsamples)
    found = gpt2.find(model_name, models_dir)
    form = find_form(found, template) if template else None
    if options.num_beams == 1:  # beams have what fits
        options = dataclasses.replace(options, length=length or found.hparams.n_ctx // 2)
    options.check(found.hparams)
    model = found.load(precision)
    if output_path:
        from gpt2.prompts import write_samples

        with runtime.explained(LESS_MEMORY):
            count = write_samples(model, given, options, nsamples, batch_size, output_path)
        print(f'{output_path}: {count:,} new {"sample" if count == 1 else "samples"}')
        return None
    session = Session(found.hparams, options, nsamples, batch_size, interact_model.__doc__)
    piped, unanswered = given is None and not sys.stdin.isatty(), 0
    asks = [f'{name} >>> ' for name in form.asked] if form else 'Model prompt >>> '
    asked = terminal.prompts(asks, session.obey) if given is None else given
    for text in form.rows(asked) if form else asked:
        try:
            if prompts is not None:
                print(f'Model prompt >>> {text}')
            with runtime.explained(LESS_MEMORY):
                context = form.prompt(text) if form else model.enc.encode(text)
                options = form.ended(session.options) if form else session.options
                terminal.print_samples(
                    model, context, options, session.nsamples, session.batch_size
                )
            terminal.print_end()
        except UserError as error:
            print(error, file=sys.stderr)
            unanswered += piped or given is not None
        except KeyboardInterrupt:
            if given is not None:
                raise
            print(file=terminal.screen())
    return 1 if unanswered else None  # the exit code


def find_prompts(prompt, path, encoding: str, column) -> list[str] | None:
    """The prompts that flags name; None where they are asked for."""
    if prompt is not None and path is not None:
        raise UserError('--prompt is one text, --prompts a file of some; leave out one of them')
    if path is None:
        return None if prompt is None else [prompt]
    from gpt2.prompts import read_prompts

    return read_prompts(path, encoding, column)


def find_form(found, template: str | bool):
    """The Template that a flag names, for a model that is found."""
    from gpt2.template import find_template

    return find_template(found.folder, template, found.enc)


def check_output(output_path: str, given: list[str] | None, nsamples: int) -> str:
    """The path, once it can be written and it is known how many samples go there."""
    output_path = expanded(output_path)
    if given is None:
        raise UserError('--output_path is for samples of --prompt or --prompts; name one of them')
    check_range('nsamples', nsamples, 1)
    check_parent(Path(output_path))
    return output_path


if __name__ == '__main__':
    cli.run(interact_model)
