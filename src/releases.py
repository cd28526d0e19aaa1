"""OpenAI's released models: their files and sums, and how they come into the models folder."""

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

from .errors import UserError
from .fetch import File, ask_for_facts, ending_in, fetch, find_base, progress_bar
from .model_folder import ALIASES, OPENAI_VOCABULARY, OTHER_NAME
from .paths import expanded

BASE_URL = 'https://openaipublic.blob.core.windows.net/gpt-2/models'

# Bytes and SHA-256, where they are known beforehand; the server is asked for the others.
DATA = 'model.ckpt.data-00000-of-00001'
KNOWN_124M = {
    'checkpoint': (77, 'dd1b025d2e155283f5e300ce95bf6d5b6bc0f7fe010db73daa6975eb896ab9cb'),
    'encoder.json': OPENAI_VOCABULARY['encoder.json'],
    'hparams.json': (90, 'd9d56e4121c427164e0c55c6f03c08e1daf9002b9b672825112d19097b680318'),
    DATA: (497759232, '2060c885360cc0cf41d7a6dbc4d24b5127aae20260c8b5ae521b5a6578407118'),
    'model.ckpt.index': (5215, '71916f763f9746f9b2a06b12d91996cf1084ae008d0424543d39391c5f2dc687'),
    'model.ckpt.meta': (471155, '4668c448fa11531fd6700460487f73e82d3272960cea942252f8744bf225c77b'),
    'vocab.bpe': OPENAI_VOCABULARY['vocab.bpe'],
}
KNOWN_EVERYWHERE = OPENAI_VOCABULARY
KNOWN_355M = {
    'checkpoint': (77, None),
    'hparams.json': (91, None),
    DATA: (1419292672, None),
    'model.ckpt.index': (10399, None),
    'model.ckpt.meta': (926519, None),
}
KNOWN = {
    '124M': KNOWN_124M,
    '355M': KNOWN_355M | KNOWN_EVERYWHERE,
    '774M': KNOWN_EVERYWHERE,
    '1558M': KNOWN_EVERYWHERE,
}
FILES = tuple(KNOWN_124M)


def download(
    model_names: Sequence[str],
    models_dir: str | Path = 'models',
    base_url: str | None = None,
    beside: str | Path | None = None,
    out: TextIO | None = None,
) -> None:
    """Fetch what is missing or broken of the models, and say which command to try next.

    A relative `models_dir` that exists only next to the file `beside` is that one. Files come
    from `base_url`, else from $GPT2_MODELS_URL, else from BASE_URL. What is said goes to `out`,
    None for stderr. Raises UserError for a name that is none, for too little room, and for what
    the network and the disk refuse.
    """
    _check_names(model_names)
    models_dir = expanded(models_dir)
    out = out or sys.stderr
    base = find_base(base_url, 'GPT2_MODELS_URL', BASE_URL)
    place = ['--models_dir', str(models_dir)] if str(models_dir) != 'models' else []
    source = ['--base_url', base_url] if base_url else []
    again = shlex.join(['python', 'download_model.py', *model_names, *place, *source])
    with ending_in(again, models_dir):
        root = _find_root(models_dir, beside)
        models = {ALIASES.get(name, name): _find_folder(root, name) for name in model_names}
        names = [(model, name) for model in models for name in FILES]
        with progress_bar(f'Asking {base}', out, iterable=names, leave=False) as bar:
            files = [_describe(base, model, name, models[model] / name, out) for model, name in bar]
    missing = fetch(files, root, again, out)
    for folder in models.values():
        fetched = sum(file.path.parent == folder for file in missing)
        print(f'{folder}: {len(FILES)} files, {fetched} fetched', file=out)
    if unsure := sum(file.digest is None for file in files):
        told = 'files could be checked by size only: the server tells no Content-MD5'
        print(f'{unsure} {told}', file=out)
    script = 'interactive_conditional_samples.py'
    print('Try:', shlex.join(['python', script, '--model_name', model_names[0], *place]), file=out)


def _check_names(model_names: Sequence[str]) -> None:
    unknown = [name for name in model_names if name not in OTHER_NAME]
    if unknown or not model_names:
        what = f'no model is called {unknown[0]!r}' if unknown else 'no model is named'
        names = ', '.join(f'{old}/{new}' for old, new in ALIASES.items())
        raise UserError(f'{what}, the names are {names}; run: python download_model.py 124M')


def _find_root(models_dir, beside) -> Path:
    here = Path(models_dir)
    there = Path(beside or '').resolve().parent / models_dir
    return there if beside and there.exists() and not here.exists() else here


def _find_folder(root: Path, model_name: str) -> Path:
    typed, other = root / model_name, root / OTHER_NAME[model_name]
    return other if other.exists() and not typed.exists() else typed


def _describe(base: str, model: str, name: str, path: Path, out: TextIO) -> File:
    """What the file should be, from the server where it is not known beforehand."""
    url = f'{base}/{model}/{name}'
    size, sha256 = KNOWN[model].get(name, (None, None))
    if sha256:
        return File(url, path, size, 'sha256', sha256)
    return ask_for_facts(url, path, size, out)
