"""Text of files, folders, patterns, .csv and .jsonl, read in pieces. No TensorFlow."""

import codecs
import contextlib
import csv
import glob
import itertools
import json
import os
import reprlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from tqdm import tqdm

from ..errors import UserError, what_mends
from ..model_folder import distinct
from ..paths import expanded

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
    path = Path(expanded(path))
    if path.is_file():
        return [path]
    left, files = {'hidden': set(), 'no file': set(), 'binary': set()}, set()
    for found in [path] if path.is_dir() else map(Path, glob.glob(str(path), recursive=True)):
        for file in _walk(found) if found.is_dir() else [found]:
            if _hidden(file, found):
                left['hidden'].add(file)
            elif not file.is_file():
                left['no file'].add(file)  # a pipe, a device, a link to nothing
            elif not (encoded and file.suffix == '.npz') and _binary(file, encoding):
                left['binary'].add(file)
            else:
                files.add(file)
    if not any((files, left['hidden'], left['binary'], path.is_dir())):
        raise UserError(
            f'{path} is no file, no folder, and no pattern that matches a file; name one that is'
        )
    for kind, those in left.items():
        if those:
            more = f' and {len(those) - 1:,} more' if len(those) > 1 else ''
            say(f'{path}: left out as {kind}: {min(those)}{more}')
    return sorted(files)


def _walk(folder: Path) -> Iterator[Path]:
    """The files in a folder and those below it; UserError where one cannot be read."""

    def fail(error: OSError):
        if not _hidden(Path(error.filename), folder):
            raise _unreadable(error.filename, error) from error

    for place, _, names in os.walk(folder, onerror=fail):
        yield from (Path(place, name) for name in names)


def _hidden(path: Path, folder: Path) -> bool:
    return any(part.startswith('.') for part in path.relative_to(folder).parts)


def _unreadable(path, error: OSError) -> UserError:
    return UserError(f'{path} cannot be read: {error.strerror or error}; {what_mends(error)}')


def _first_bytes(path: Path) -> bytes:
    with contextlib.suppress(OSError), open(path, 'rb') as file:  # reading it will say why
        return file.read(8192)
    return b''


def _binary(path: Path, encoding: str) -> bool:
    """Whether there is a zero among the first characters, as git tells them apart."""
    return '\0' in _first_bytes(path).decode(_codec(encoding), 'replace')


def _likely(path: Path) -> str:
    """The encoding that a file's first bytes look like: UTF-16's every second one is often 0."""
    head = _first_bytes(path)
    if head[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        return 'utf-16'
    even, odd = head[::2].count(0), head[1::2].count(0)
    if max(even, odd) * 8 < len(head) or min(even, odd) * 8 > max(even, odd):
        return 'latin-1'
    return 'utf-16-le' if odd > even else 'utf-16-be'


def _codec(encoding: str) -> str:
    """The name to open a file with; a byte-order mark before UTF-8 is no text."""
    try:
        ''.encode(encoding)  # unlike codecs.lookup, refuses what is no encoding of text
    except (LookupError, UnicodeError) as error:  # of a name that no text can be
        what = f'no encoding of text is called {encoding!r}'
        raise UserError(f'{what}; --encoding is utf-8, utf-16, latin-1, ...') from error
    name = codecs.lookup(encoding).name
    return 'utf-8-sig' if name == 'utf-8' else name


def check_column(files: Sequence[Path], column: str | None) -> None:
    """Raise UserError for a column where no file has any."""
    if column is not None and not any(path.suffix.lower() in ROWS for path in files):
        what = f'{files[0]} has no columns' if files else 'no file has columns'
        raise UserError(f'{what}, as a .csv or .jsonl has; leave out --column {column}')


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


def read_whole(path: str | Path, encoding: str = 'utf-8') -> str:
    """The text of one file, as it stands there whatever the file is called."""
    path = Path(expanded(path))
    if not path.is_file():
        raise UserError(f'{path} is no file; name one that holds text')
    return ''.join(text for _, text, _ in _read_file(path, encoding, plain=True))


def read_rows(path: str | Path, encoding: str = 'utf-8') -> Iterator[tuple[int, dict]]:
    """Yield (line, fields) of the rows of a .csv or .jsonl. Raises UserError for what is none."""
    path = Path(expanded(path))
    if path.suffix.lower() not in ROWS or not path.is_file():
        raise UserError(f'{path} is no .csv or .jsonl file; name one that holds rows')
    for line, row, _ in _read_file(path, encoding, rows=_whole_rows):
        yield line, row


def _read_file(
    path: Path, encoding: str, column: str | None = None, plain: bool = False, rows=None
) -> Iterator[tuple[int, str, int]]:
    """Yield (row, text, bytes read so far); a file of `plain` text is the row 0, in pieces.

    rows: what reads the rows of a file that has some, _read_rows for one column's text.
    """
    if _binary(path, encoding) and (likely := _likely(path)).startswith('utf-16'):
        raise UserError(f'{path} looks like {likely}, not {encoding}; set --encoding {likely}')
    try:
        with open(path, encoding=_codec(encoding)) as file:
            if path.suffix.lower() in ROWS and not plain:
                texts = rows(path, file) if rows else _read_rows(path, file, column)
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
                    f'as in --encoding {_likely(path)}'
                ) from error
    except OSError as error:
        raise _unreadable(path, error) from error


def _read_rows(path: Path, file, column: str | None) -> Iterator[tuple[int, str]]:
    """Yield (line, text) of the rows: of `column`, else of the first row's only one, or `text`."""
    for line, row in _whole_rows(path, file):
        where = f'{path} line {line}'
        column = column or (next(iter(row)) if len(row) == 1 else 'text')
        if column not in row:
            names = ', '.join(row)
            raise UserError(f'{where} has no column {column}, but: {names}; set --column to one')
        text = row[column]
        if not isinstance(text, str):
            short = reprlib.repr(text)
            raise UserError(f'{where} has {short} as {column}, which is no text; mend the row')
        try:
            text.encode()
        except UnicodeEncodeError:
            raise UserError(f'{where} has a lone surrogate in {column}; mend the row') from None
        yield line, text


def _whole_rows(path: Path, file) -> Iterator[tuple[int, dict]]:
    return _csv_rows(path, file) if path.suffix.lower() == '.csv' else _jsonl_rows(path, file)


def _csv_rows(path, file):
    reader, line = csv.DictReader(file, strict=True), 2
    try:
        while (row := _next_row(reader)) is not None:
            if len(set(reader.fieldnames)) < len(reader.fieldnames):
                line = 1
                raise csv.Error('it has the same name twice')
            if None in row or None in row.values():
                more = 'more' if None in row else 'fewer'
                raise csv.Error(f'it has {more} fields than the first line names')
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
            row = json.loads(line, object_pairs_hook=distinct)
        except (ValueError, RecursionError) as error:  # so deep is the nesting
            raise UserError(f'{path} line {number} is broken: {error}; mend the row') from error
        if not isinstance(row, dict):
            raise UserError(f'{path} line {number} is no JSON object; mend the row')
        yield number, row
