"""Text of files, folders, patterns, .csv and .jsonl, read in pieces. No TensorFlow."""

import codecs
import contextlib
import csv
import glob
import itertools
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from tqdm import tqdm

from ..errors import UserError

ROWS = ('.csv', '.jsonl')
LETTERS_PER_READ = 2**20  # of plain text
LONGEST_FIELD = 2**31 - 1  # of a .csv, in letters: csv's own limit of 2**17 is less than a book


def silent(text: str) -> None:
    """Says nothing: in place of `print`."""


def find_files(
    path: str | Path,
    encoding: str = 'utf-8',
    encoded: bool = False,
    say: Callable[[str], None] = silent,
) -> list[Path]:
    """The file, or the files of the folder or pattern, in the order of their names.

    Leaves out, and says so, what is hidden or binary in a folder or pattern; its .npz files are
    binary unless `encoded` ones are wanted. Raises UserError where there is none.
    """
    path = Path(path)
    if path.is_file():
        return [path]
    files, hidden = set(), []
    for found in [path] if path.is_dir() else map(Path, glob.glob(str(path), recursive=True)):
        for file in filter(Path.is_file, found.rglob('*') if found.is_dir() else [found]):
            if any(part.startswith('.') for part in file.relative_to(found).parts):
                hidden.append(file)
            else:
                files.add(file)
    if not files and not hidden and not path.is_dir():
        raise UserError(f'{path} is no file, no folder, and no pattern that matches a file')
    binary = {f for f in files if not (encoded and f.suffix == '.npz') and _binary(f, encoding)}
    for kind, left in (('hidden', sorted(set(hidden))), ('binary', sorted(binary))):
        if left:
            more = f' and {len(left) - 1:,} more' if len(left) > 1 else ''
            say(f'{path}: left out as {kind}: {left[0]}{more}')
    return sorted(files - binary)


def _binary(path: Path, encoding: str) -> bool:
    """Whether there is a zero among the first characters, as git tells them apart."""
    with contextlib.suppress(OSError), open(path, 'rb') as file:  # reading it will say why
        return '\0' in file.read(8192).decode(_codec(encoding), 'replace')
    return False


def _codec(encoding: str) -> str:
    """The name to open a file with; a byte-order mark before UTF-8 is no text."""
    try:
        ''.encode(encoding)  # unlike codecs.lookup, refuses what is no encoding of text
    except LookupError as error:
        what = f'no encoding of text is called {encoding!r}'
        raise UserError(f'{what}; --encoding is utf-8, utf-16, latin-1, ...') from error
    name = codecs.lookup(encoding).name
    return 'utf-8-sig' if name == 'utf-8' else name


def read_pieces(
    files: Sequence[Path], encoding: str = 'utf-8', column: str | None = None
) -> Iterator[tuple[object, str]]:
    """(document, piece of its text) for all the text: neighbouring documents are not equal.

    Raises UserError: at once where a first row is wrong, else when it comes to the place.
    """
    for path in files:
        if path.suffix.lower() in ROWS:
            next(_read_file(path, encoding, column), None)
    return _read_files(files, encoding, column)


def _read_files(files, encoding, column):
    sizes = [file.stat().st_size for file in files]
    manner = {'unit': 'B', 'unit_scale': True, 'disable': not files or None}
    manner |= {'dynamic_ncols': True}
    with tqdm(total=sum(sizes), **manner) as bar:
        for start, path in zip(itertools.accumulate([0, *sizes]), files, strict=False):
            for row, text, position in _read_file(path, encoding, column):
                bar.update(start + position - bar.n)
                if text:
                    yield (start, row), text


def _read_file(path: Path, encoding: str, column: str | None) -> Iterator[tuple[int, str, int]]:
    """Yield (row, text, bytes read so far); a file of plain text is the row 0, in pieces."""
    try:
        with open(path, encoding=_codec(encoding)) as file:
            if path.suffix.lower() in ROWS:
                texts = _read_rows(path, file, column)
            else:
                texts = ((0, text) for text in iter(lambda: file.read(LETTERS_PER_READ), ''))
            try:
                for row, text in texts:
                    yield row, text, file.buffer.tell()
            except UnicodeError as error:
                offset = 0  # utf-16 without the mark that it begins with
                if isinstance(error, UnicodeDecodeError):  # its object ends where reading stands
                    offset = file.buffer.tell() - len(error.object) + error.start
                raise UserError(
                    f'{path} is not {encoding} at byte {offset}; say what it is, '
                    'as in --encoding latin-1'
                ) from error
    except OSError as error:
        raise UserError(f'{path} cannot be read: {error.strerror}') from error


def _read_rows(path: Path, file, column: str | None) -> Iterator[tuple[int, str]]:
    """Yield (line, text) of the rows: of `column`, else of the only column, else of `text`."""
    rows = _csv_rows(path, file) if path.suffix.lower() == '.csv' else _jsonl_rows(path, file)
    for line, row in rows:
        where = f'{path} line {line}'
        name = column or (next(iter(row)) if len(row) == 1 else 'text')
        if name not in row:
            names = ', '.join(row)
            raise UserError(f'{where} has no column {name}, but: {names}; set --column to one')
        text = row[name]
        if not isinstance(text, str):
            raise UserError(f'{where} has {text!r} as {name}, which is no text; mend the row')
        try:
            text.encode()
        except UnicodeEncodeError:
            raise UserError(f'{where} has a lone surrogate in {name}; mend the row') from None
        yield line, text


def _csv_rows(path, file):
    reader, line = csv.DictReader(file, strict=True), 2
    try:
        while (row := _next_row(reader)) is not None:
            if None in row:
                raise csv.Error('it has more fields than the first line names')
            yield line, row
            line = reader.line_num + 1
    except csv.Error as error:
        raise UserError(f'{path} line {line} is broken: {error}; mend the row') from error


def _next_row(reader: csv.DictReader) -> dict | None:
    """One row more, with fields longer than csv allows elsewhere in this process."""
    limit = csv.field_size_limit(LONGEST_FIELD)
    try:
        return next(reader, None)
    finally:
        csv.field_size_limit(limit)


def _jsonl_rows(path, file):
    for number, line in enumerate(file, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise UserError(f'{path} line {number} is broken: {error}; mend the row') from error
        if not isinstance(row, dict):
            raise UserError(f'{path} line {number} is no JSON object; mend the row')
        yield number, row
