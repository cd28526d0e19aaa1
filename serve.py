#!/usr/bin/env python3
"""Serves models over HTTP: OpenAI's completions API, and a page."""

import os

import gpt2
from gpt2 import cli
from gpt2.errors import UserError
from gpt2.options import check_precision, check_range, with_help

KEY = 'GPT2_API_KEY'


@with_help
def serve(
    model_name: str = '124M',
    host: str = '127.0.0.1',
    port: int = 8000,
    api_key: str | None = None,
    max_batch: int = 8,
    max_waiting: int = 64,
    slide: bool = False,
    allow_origin: str | None = None,
    grace: int = 10,
    models_dir: str = 'models',
    precision: str = 'float32',
):
    """
    Serve models to any client of OpenAI's completions API, and to a browser

    :model_name=124M : String, which model to serve, or several, separated by commas
    :host=127.0.0.1 : Where to listen; other than this machine alone only with a key
    :port=8000 : Where to listen; 0 takes a free one
    :api_key=None : What clients have to send as their key, if None (default), GPT2_API_KEY from
     the environment, which others on this machine cannot see
    :max_batch=8 : How many texts are made side by side; their memory is taken at the start
    :max_waiting=64 : How many requests wait for a place; others are told to come again
    :slide=False : Let texts go on beyond the context, over the last half of it
    :allow_origin=None : Sites whose pages may use the server, separated by commas, as in
     https://example.com; * for any
    :grace=10 : How many seconds what runs has to end after Ctrl-C or SIGTERM
    """
    api_key = api_key or os.environ.get(KEY) or None
    check_precision(precision)
    check_range('port', port, 0, 65535)
    check_range('max_batch', max_batch, 1, 1024)
    check_range('max_waiting', max_waiting, 0, 2**16)
    check_range('grace', grace, 0, 3600)
    try:
        from gpt2.serving import app, server
    except ModuleNotFoundError as error:
        mend = "run: pip install -e '.[server]'"
        raise UserError(f'{error.name} is not installed; {mend}') from error
    if api_key is None and not server.is_loopback(host):
        raise UserError(f'without a key everybody may use {host}; set --api_key or {KEY}')
    names = [name for name in model_name.split(',') if name]
    if not names:
        raise UserError('no model is named; run: python serve.py --model_name demo')
    founds = [gpt2.find(name, models_dir) for name in dict.fromkeys(names)]
    origins = allow_origin.split(',') if allow_origin else []
    server.serve(
        app.App(api_key, origins, slide),
        founds,
        host=host,
        port=port,
        precision=precision,
        rows=max_batch,
        most_waiting=max_waiting,
        grace=grace,
    )


if __name__ == '__main__':
    cli.run(serve)
