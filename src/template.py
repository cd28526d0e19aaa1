"""Rows put into a template: '{question}<answer>{answer}</s>'. No TensorFlow."""

import dataclasses
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from .errors import UserError, what_mends
from .model_folder import parse_object
from .options import SamplingOptions
from .special_tokens import specials

TEMPLATE = 'template.json'  # of a run that learns from rows
FIELD = re.compile(r'\{([^{}]+)\}')


class Piece(NamedTuple):
    """Of a template: text, or a special token, and its ids; or a field, and the blank before it."""

    text: str
    ids: tuple[int, ...] = ()
    field: str = ''


class Row(NamedTuple):
    """A row's ids, which of them count, and where the field begins that is generated."""

    ids: np.ndarray
    counts: np.ndarray
    start: int


class Template:
    """Fields in braces, between texts and the special tokens that `enc` has.

    Each piece is encoded for itself, so that its ids are the same whatever stands beside it; a
    blank before a field goes with it, as GPT-2's words have theirs. What counts is all, or the
    fields that `loss_on` names, each with the token or the text that ends it. Generated is the
    first of these, else the last field; `asked` are the fields before it, `end` is what ends it.

    >>> template = Template('{q}<|endoftext|>{a}<|endoftext|>', gpt2.find('demo').enc)
    >>> template.asked, template.prompt({'q': 'Good night'}), template.end
    (['q'], [38, 373, 851, 1023], '<|endoftext|>')
    """

    def __init__(self, text: str, enc, loss_on: Sequence[str] | None = None):
        self.text, self.enc, self.loss_on = text, enc, loss_on
        self.pieces = list(cut(text, enc))
        fields = [piece.field for piece in self.pieces]
        if not any(fields):
            raise UserError(
                f'--template {text!r} names no field; write one in braces, as in '
                "'{question}<answer>{answer}</s>'"
            )
        for name in loss_on or ():
            if name not in fields:
                known = ', '.join(dict.fromkeys(filter(None, fields)))
                raise UserError(f'--loss_on {name} is no field of the template, but: {known}')
        learnt = [i for i, name in enumerate(fields) if name and name in (loss_on or fields)]
        self.place = learnt[0] if loss_on else learnt[-1]
        ends = [i + 1 for i in learnt if i + 1 < len(fields) and not fields[i + 1]]
        self.counted = {*learnt, *ends} if loss_on else {*range(len(fields))}
        self.asked = list(dict.fromkeys(filter(None, fields[: self.place])))
        self.end = self.pieces[self.place + 1].text if self.place + 1 in ends else ''

    def encode(self, fields: dict, where: str = 'the row') -> Row:
        """A row of a file, by its columns; where: what is said of it where it is wrong."""
        parts = [self._ids(piece, fields, where) for piece in self.pieces]
        counts = [[i in self.counted] * len(ids) for i, ids in enumerate(parts)]
        start = sum(map(len, parts[: self.place]))
        ids = np.array(sum(parts, []), np.int32)
        return Row(ids, np.array(sum(counts, []), bool), start)

    def prompt(self, fields: dict) -> list[int]:
        """The ids up to the field that is generated."""
        before = self.pieces[: self.place]
        return sum((self._ids(piece, fields, 'the row') for piece in before), [])

    def rows(self, texts: Iterable[str]) -> Iterator[dict]:
        """Yield texts that come one after another as the fields that are asked for."""
        for values in zip(*[iter(texts)] * len(self.asked), strict=False):
            yield dict(zip(self.asked, values, strict=True))

    def ended(self, options: SamplingOptions) -> SamplingOptions:
        """The options with one stop more: what ends the field that is generated."""
        stops = [*options.stops, self.end] if self.end else options.stop
        return dataclasses.replace(options, stop=stops)

    def _ids(self, piece: Piece, fields: dict, where: str) -> list[int]:
        if not piece.field:
            return list(piece.ids)
        if piece.field not in fields:
            known = ', '.join(fields)
            raise UserError(
                f'{where} has no field {piece.field}, but: {known}; mend the row, or set '
                '--template to the fields there are'
            )
        value = fields[piece.field]
        if isinstance(value, int | float):  # as JSON writes a label
            value = json.dumps(value)
        if not isinstance(value, str):
            raise UserError(
                f'{where} has {value!r:.60} as {piece.field}, which is no text; mend the row'
            )
        return self.enc.encode(piece.text + value)

    def to_text(self) -> str:
        return json.dumps({'template': self.text, 'loss_on': self.loss_on}, indent=2) + '\n'


def cut(text: str, enc) -> Iterator[Piece]:
    """Yield the pieces of a template."""
    special = specials(enc)
    longest_first = sorted(special, key=len, reverse=True)
    signs = re.compile('|'.join([*map(re.escape, longest_first), FIELD.pattern]))
    start = 0
    for found in [*signs.finditer(text), None]:
        end = found.start() if found else len(text)
        between, blank = text[start:end], ''
        if found and found[1] and between.endswith(' '):
            between, blank = between[:-1], ' '
        if between:
            yield Piece(between, tuple(enc.encode(between)))
        if found:
            start = found.end()
            is_field = found[1] is not None
            ids = () if is_field else (special[found[0]],)
            yield Piece(blank, field=found[1]) if is_field else Piece(found[0], ids)


def find_template(folder: Path, text: str | bool, enc) -> Template:
    """The template `text`, or, for True, the one with which the model in `folder` was trained.

    Raises UserError where there is none, and where it asks for nothing.
    """
    path, own = folder / TEMPLATE, {}
    try:
        if path.exists():
            own = parse_object(path.read_bytes())
            whole = isinstance(own['template'], str) and isinstance(own['loss_on'], list | None)
            if not whole or not all(isinstance(name, str) for name in own['loss_on'] or ()):
                raise ValueError('it holds no template')
    except (OSError, ValueError, KeyError) as error:
        mend = what_mends(error, 'put it back, or write --template')
        raise UserError(f'{path} is damaged: {error}; {mend}') from error
    if text is True and not own:
        raise UserError(
            f"{folder} has learnt no template; write one: --template '{{question}}<|endoftext|>'"
        )
    text = own['template'] if text is True else text
    template = Template(text, enc, own['loss_on'] if text == own.get('template') else None)
    if not template.asked:
        raise UserError(
            f'the template {text!r} has no field to ask for before the one that is generated; '
            'leave out --template'
        )
    return template
