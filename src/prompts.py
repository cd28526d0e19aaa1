"""Prompts from a file, samples to a file that grows a whole line at a time."""

import dataclasses
import itertools
import json
import secrets
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from . import files
from .data.read_text import ROWS, read_pieces
from .errors import UserError
from .loading import Model
from .options import SamplingOptions, check_context, check_range, default
from .paths import expanded

START = b'{"number": '  # of each line


def read_prompts(path: str | Path, encoding: str = 'utf-8', column: str | None = None) -> list[str]:
    """The lines of a text file that are not empty, or the rows of a .csv or .jsonl.

    Raises UserError where it cannot be read, and where it holds none.
    """
    path = Path(expanded(path))
    if not path.is_file():
        raise UserError(f'there is no file {path}; set --prompts to one with a prompt a line')
    pieces = (text for _, text in read_pieces([path], encoding, column))
    prompts = list(pieces) if path.suffix.lower() in ROWS else ''.join(pieces).split('\n')
    prompts = [prompt for prompt in prompts if prompt.strip()]
    if not prompts:
        raise UserError(f'{path} holds no prompt; write one a line')
    return prompts


class Samples:
    """A .jsonl file of samples, one a line; what is in it is not made again.

    `seed` is that of the file, else that of the options, else any: the same for all its lines.
    Raises UserError where the file holds samples of other prompts, seed, or options.
    """

    def __init__(self, path: str | Path, prompts: Sequence[str], options: SamplingOptions):
        self.path = Path(path)
        self.path.touch()
        content = self.path.read_bytes()
        self.end = content.rfind(b'\n') + 1  # what a killed process left of a line is behind it
        *lines, rest = content.split(b'\n')
        if not START.startswith(rest[: len(START)]):
            lines.append(rest)
        self.there = set()  # (number of the prompt, of the sample), from 1
        self.seed, self.asked = options.seed, asked(options)
        for number, line in enumerate(lines, start=1):
            try:
                row = json.loads(line)
                i, k, seed = row['number'], row['sample'], row['seed']
                known = i > 0 and prompts[i - 1] == row['prompt'] and type(seed) is type(k) is int
            except (ValueError, KeyError, TypeError, IndexError, RecursionError):
                known = False
            if not known:
                raise UserError(
                    f'{path} line {number} is no sample of these prompts; name another file'
                )
            if row.get('options') != self.asked:
                raise UserError(
                    f'{path} has samples with the options {json.dumps(row.get("options"))}, not '
                    f'{json.dumps(self.asked)}; repeat them, or name another file'
                )
            if self.seed not in (None, seed):
                raise UserError(
                    f'{path} has samples of the seed {seed}; leave out --seed, or name another file'
                )
            self.seed = seed
            self.there.add((i, k))
        if self.seed is None:
            self.seed = secrets.randbits(32)

    def add(self, rows: Sequence[dict]) -> None:
        """Append rows, and have the disk hold them."""
        lines = ''.join(json.dumps(row) + '\n' for row in rows)
        self.end = files.append(self.path, lines, self.end)
        self.there |= {(row['number'], row['sample']) for row in rows}


def asked(options: SamplingOptions) -> dict:
    """What is asked for beyond the defaults, as JSON has it; without the seed."""
    values = {name: v for name, v in vars(options).items() if name != 'seed' and v != default(name)}
    return json.loads(json.dumps(values))


def write_samples(
    model: Model,
    prompts: Sequence[str],
    options: SamplingOptions,
    nsamples: int,
    batch_size: int,
    path: str | Path,
) -> int:
    """Write `nsamples` samples of each prompt to `path`; returns how many are new.

    A sample is the same whatever is made beside it. Raises UserError, before any is made, for a
    prompt that the model cannot read.
    """
    from .beam import length_after

    if options.num_beams > 1:
        check_range('nsamples', nsamples, 1, options.num_beams)
    contexts = [model.enc.encode(prompt) for prompt in prompts]
    for number, context in enumerate(contexts, start=1):
        try:
            check_context(context, model.hparams)
            if options.num_beams > 1:
                length_after(context, options, model.hparams)
        except UserError as error:
            raise UserError(f'prompt {number} cannot be read: {error}') from error
    message = f'another process is writing {path}; name another file'
    with files.lock(path, message):
        out = Samples(path, prompts, options)
        wanted = list(itertools.product(range(len(prompts)), range(nsamples)))
        left = [(i, k) for i, k in wanted if (i + 1, k + 1) not in out.there]
        manner = {'unit': ' samples', 'leave': False, 'disable': None, 'dynamic_ncols': True}
        with tqdm(total=len(wanted), initial=len(wanted) - len(left), **manner) as bar:
            options = dataclasses.replace(options, seed=out.seed)
            for batch, texts in _batches(model, contexts, options, left, batch_size):
                rows = zip(batch, texts, strict=True)
                out.add([_row(i, k, prompts[i], out, text) for (i, k), text in rows])
                bar.update(len(batch))
        return len(left)


def _batches(model: Model, contexts, options: SamplingOptions, left: list, batch_size: int):
    """Yield some (number of a context, of a sample) of those left, and their texts."""
    from .completion import complete, most_probable

    if options.num_beams > 1:
        for i, group in itertools.groupby(left, key=lambda place: place[0]):
            batch, found = list(group), most_probable(model, contexts[i], options)
            yield batch, [found[k] for _, k in batch]
        return
    for start in range(0, len(left), batch_size):
        batch = left[start : start + batch_size]
        # The last has as many rows as the others: another number would be compiled.
        rows = [*batch, *[batch[-1]] * (min(batch_size, len(left)) - len(batch))]
        texts = complete(
            model, [contexts[i] for i, _ in rows], options, numbers=[k for _, k in rows]
        )
        yield batch, texts[: len(batch)]


def _row(i: int, k: int, prompt: str, out: Samples, text) -> dict:
    """A line of the file; numbers from 1."""
    row = {
        'number': i + 1,
        'prompt': prompt,
        'sample': k + 1,
        'seed': out.seed,
        'text': text.text,
        'tokens': text.tokens,
        'log_probability': text.log_probability,
        'ended': text.ended,
        'options': out.asked,
    }
    return row | ({'best': text.best} if text.best else {})
