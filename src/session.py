"""A session at the prompt: lines that begin with a colon show and change the options."""

import dataclasses
import difflib
import json
import re
import shutil
import textwrap

from . import usage
from .cli import parse_value
from .errors import UserError
from .hparams import HParams
from .options import PRECISIONS, SamplingOptions, check_sampler, default

COMMANDS = {
    ':set': 'shows the options, as they are',
    ':set NAME VALUE': 'sets one, as in  :set length 50',
    ':help NAME': 'tells what an option is',
    ':quit': 'ends, as Ctrl-D does, and Ctrl-C where no sample is under way',
}
WAYS = 'Several pasted lines are one prompt, as are those from one """ to the next.'
KINDS = {'nsamples': int, 'batch_size': int} | {
    field.name: field.type
    for field in dataclasses.fields(SamplingOptions)
    if field.name != 'logprobs'  # which are for a file
}


class Session:
    """The options in force, checked for a model of this shape, and the commands for them.

    doc: the docstring that explains them.
    """

    def __init__(self, hparams: HParams, options: SamplingOptions, nsamples, batch_size, doc: str):
        self.hparams, self.doc = hparams, doc
        self.options, self.nsamples, self.batch_size = options, nsamples, batch_size

    def obey(self, line: str) -> str | None:
        """':set length 50' -> 'length 50', the answer; None to end. Raises UserError."""
        word, _, rest = line.strip().partition(' ')
        known = dict.fromkeys(name.split()[0] for name in COMMANDS)
        meant = [name for name in known if name.startswith(word)]
        if len(meant) != 1:
            raise UserError(
                f'there is no command {word}, but {", ".join(known)}; a prompt that begins with '
                'a colon stands after three quotes'
            )
        name, _, text = rest.strip().partition(' ')
        if meant == [':quit']:
            return None
        if meant == [':help']:
            return self.tell(name)
        return self.set(name, text.strip()) if text else self.show(name)

    def show(self, name: str = '') -> str:
        """'length' -> 'length 50'; each on its line, where none is named."""
        values = vars(self.options) | {
            'nsamples': self.nsamples,
            'batch_size': self.batch_size,
        }
        if name:
            return f'{known_name(name)} {written(values[name])}'
        return '\n'.join(f'{name:22}{written(values[name])}' for name in KINDS)

    def set(self, name: str, text: str) -> str:
        """Change one option, checked as its flag is; the answer."""
        known_name(name)
        try:
            self._change(name, parse_value(name, KINDS[name], text))
        except UserError as error:
            raise UserError(for_session(str(error))) from None
        return self.show(name)

    def _change(self, name: str, value) -> None:
        options, counts = self.options, [self.nsamples, self.batch_size]
        if name in ('nsamples', 'batch_size'):
            counts[name == 'batch_size'] = value
        else:
            if name == 'length' and value is None:
                value = self.hparams.n_ctx // 2
            options = dataclasses.replace(options, **{name: value})
        options.check(self.hparams)
        check_sampler(*counts, options.top_p, PRECISIONS[0])
        self.options, (self.nsamples, self.batch_size) = options, counts

    def tell(self, name: str) -> str:
        """What an option is; what the commands are, where none is named."""
        if name:
            text = usage.text_of(usage.read(self.doc)[1][known_name(name)][1])
            return textwrap.fill(text, shutil.get_terminal_size().columns)
        return '\n'.join([*(f'{name:18}{text}' for name, text in COMMANDS.items()), WAYS])


def known_name(name: str) -> str:
    """The name of an option; UserError where there is none such."""
    if name in KINDS:
        return name
    near = difflib.get_close_matches(name, KINDS, 1)
    meant = f' (did you mean {near[0]}?)' if near else ''
    raise UserError(f'there is no option {name}{meant} to set here; :set shows those that are')


def written(value) -> str:
    """As it is typed: {5: 1} -> '{"5": 1}'."""
    return json.dumps(value, ensure_ascii=False) if isinstance(value, list | dict) else str(value)


def for_session(sentence: str) -> str:
    """A sentence about flags, with what mends it here."""
    sentence = re.sub(
        r'leave out --(\w+)', lambda found: f':set {found[1]} {default(found[1])}', sentence
    )
    return sentence.replace('set --', ':set ').replace('--help', ':help').replace('--', '')
