"""Text to token chunks, on all cores and in bounded memory. No TensorFlow."""

import functools
import itertools
import multiprocessing
import numbers
import os
import shlex
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import numpy as np
import regex as re

from ..encoder import END_OF_TEXT, Encoder, read_encoder
from ..errors import UserError
from ..formats.tokenizer import Tokenizer
from ..options import check_most, check_range
from ..paths import check_parent, expanded
from .bpe_dropout import BpeDropout
from .bulk import Bulk, for_bulk
from .read_text import check_column, find_files, read_pieces, silent
from .token_file import write_npz

# A long document becomes chunks of 2**20 to 2**21 letters: some 300,000 tokens of English, of
# which a window of 1024 that may not leave its chunk loses 0.3 % of the places to start at.
LETTERS_PER_CHUNK = 2**20
# What is encoded in one piece. Text is cut where the encoder splits it in any case, whatever
# stands around: before a blank and between letters, digits and other characters, but not after
# a blank, which may belong to the next word, and not in 's or 'll. So the ids are those of the
# whole text, except where 2**16 letters in a row hold no such place (one word, one number, one
# run of blanks or of punctuation that is so long): it is cut anywhere, and decodes to itself.
LETTERS_PER_PIECE = 2**16
PLACE = re.compile(r"\S\s|\p{L}\P{L}|\p{N}\P{N}|[^\s\p{L}\p{N}'][\p{L}\p{N}]")
MOST_WORKERS = 1024
SEPARATOR = '\ud800'  # stands for the end-of-text token: no text that was decoded can hold it


def encode_dataset(
    folder: Path,
    paths: Sequence[str | Path],
    out: str | Path,
    combine: int = 50000,
    encoding: str = 'utf-8',
    column: str | None = None,
    legacy_separator: bool = False,
    workers: int | None = None,
    bpe_dropout: float = 0,
    copies: int = 1,
    say: Callable[[str], None] = silent,
) -> None:
    """Write the chunks of `paths`, encoded with a model folder's vocabulary, to the .npz `out`.

    The chunks do not depend on `workers`, how many processes encode (None: as many as cores).
    bpe_dropout: the share of merges left out, other ones in each of the `copies` of all chunks.
    Says what is left out of a folder, and how much was written.
    Raises UserError as `load_dataset` does, and where `out` cannot be written.
    """
    out = Path(expanded(out))
    if out.suffix != '.npz' or out.is_dir():
        raise UserError(f'the output, named last, is to be an .npz file, not {out}')
    check_parent(out)
    check_range('combine', combine, 0)
    if workers is not None:
        check_range('workers', workers, 1)
        check_most('workers', workers, MOST_WORKERS)
    check_range('bpe_dropout', bpe_dropout, 0, 1, numbers.Real)
    check_range('copies', copies, 1)
    files = [file for path in paths for file in find_files(path, encoding, say=say)]
    for file in files:
        if file.suffix == '.npz':
            command = shlex.join(['python', 'train.py', '--dataset', str(file)])
            raise UserError(f'{file} is encoded already; run: {command}')
    check_column(files, column)
    _encoder(folder)
    tasks = (
        (folder, text, bpe_dropout, f'{copy} {number}')
        for copy in range(copies)
        for number, text in enumerate(
            chunk_texts(read_pieces(files, encoding, column), combine, legacy_separator)
        )
    )
    if (first := next(tasks, None)) is None:
        raise UserError(f'{", ".join(map(str, paths))} holds no text; name what holds some')
    most = copies * (1 + sum(file.stat().st_size for file in files) // LETTERS_PER_CHUNK)
    tasks = itertools.chain([first], tasks)
    chunks = _encode_texts(tasks, min(workers or _cores(), most))
    say(size_of(out, *write_npz(out, chunks)))


def size_of(path, chunks: int, tokens: int) -> str:
    """'a.npz', 2, 1234 -> 'a.npz: 1,234 tokens in 2 chunks'"""
    return f'{path}: {tokens:,} tokens in {chunks:,} {"chunk" if chunks == 1 else "chunks"}'


def cut(pieces: Iterable[str], size: int) -> Iterator[str]:
    """The same text in pieces of `size` letters or some more; the last may be of any length.

    ['one two', ' three'], 4 -> 'one two', ' three'; LETTERS_PER_PIECE says where it is cut.
    """
    text = ''
    for piece in pieces:
        text += piece
        start = 0
        while len(text) - start >= 2 * size:
            place = PLACE.search(text, start + size - 1, start + 2 * size)
            end = place.start() + 1 if place else start + size
            yield text[start:end]
            start = end
        text = text[start:]
    if text:
        yield text


def pieces_for(enc: Encoder, texts: Iterable[str]) -> Iterable[str]:
    """The same text, cut where what `enc` makes of the pieces is what it makes of the whole."""
    if isinstance(enc, Tokenizer):  # which may put a blank before each
        return [''.join(texts)]
    return cut(texts, LETTERS_PER_PIECE)


def chunk_texts(
    pieces: Iterable[tuple[object, str]], combine: int, legacy_separator: bool = False
) -> Iterator[str]:
    """The text of each chunk, with SEPARATOR between documents, also where a chunk ends there.

    Documents fill up a chunk until it has `combine` letters. As in nshepperd's code, the legacy
    separator is the letters `<|endoftext|>`, after each document that leaves a chunk unfilled.
    """
    chunk, full = '', False
    for _, document in itertools.groupby(pieces, key=lambda item: item[0]):
        for number, text in enumerate(cut((text for _, text in document), LETTERS_PER_CHUNK)):
            if number == 0 and chunk and not legacy_separator:
                chunk += SEPARATOR
            if number > 0 or full:
                yield chunk
                chunk = ''
            chunk += text
        full = len(chunk) >= combine
        if legacy_separator and not full:
            chunk += END_OF_TEXT
    if chunk:
        yield chunk


def encode_text(enc: Encoder, text: str) -> np.ndarray:
    """The ids of a chunk's text, in the smallest type that holds the vocabulary."""
    dtype, parts = np.min_scalar_type(len(enc.decoder) - 1), []
    for number, document in enumerate(text.split(SEPARATOR)):
        if number > 0:
            parts.append([enc.end_of_text])
        parts += map(enc.encode, pieces_for(enc, [document]))
    return np.concatenate([np.array([], dtype), *(np.asarray(part, dtype) for part in parts)])


def _cores() -> int:
    affinity = getattr(os, 'sched_getaffinity', None)  # Linux: those this process may use
    return len(affinity(0)) if affinity else os.cpu_count() or 1


@functools.cache
def _encoder(folder: Path) -> Encoder:
    return read_encoder(folder)


@functools.cache
def _bulk(folder: Path) -> Encoder | Bulk:
    return for_bulk(_encoder(folder))


def _encode(folder: Path, text: str, bpe_dropout: float, seed: str) -> np.ndarray:
    if bpe_dropout:
        enc = BpeDropout(_encoder(folder), bpe_dropout, seed)
    else:  # which takes a moment to begin
        enc = (_bulk if len(text) > LETTERS_PER_PIECE else _encoder)(folder)
    return encode_text(enc, text)


def _encode_texts(tasks: Iterable[tuple], workers: int) -> Iterator[np.ndarray]:
    """The ids of each of _encode's tasks, in order; two for each worker are under way at most."""
    if workers == 1:
        yield from itertools.starmap(_encode, tasks)
        return
    spawn = multiprocessing.get_context('spawn')
    pool = ProcessPoolExecutor(workers, spawn, initializer=_end_with_parent)
    under_way = deque()
    try:
        for task in tasks:
            under_way.append(_submit(pool, _encode, *task))
            if len(under_way) == 2 * workers:
                yield under_way.popleft().result()
        while under_way:
            yield under_way.popleft().result()
    except BrokenProcessPool as error:
        if sys.version_info < (3, 11, 5):  # whose pool waits for ever for somebody to read this
            pool._call_queue._reader.close()
        raise UserError('a worker was killed, perhaps for its memory; try --workers 1') from error
    finally:
        pool.shutdown(cancel_futures=True)


def _submit(pool: ProcessPoolExecutor, *task) -> Future:
    """pool.submit, from which a new worker inherits that Ctrl-C is for its parent to handle."""
    set_mask = getattr(signal, 'pthread_sigmask', lambda how, signals: None)  # not on Windows
    held = []  # another thread may take what this one has blocked
    handler = signal.signal(signal.SIGINT, lambda *interrupt: held.append(interrupt))
    set_mask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        return pool.submit(*task)
    finally:
        set_mask(signal.SIG_UNBLOCK, {signal.SIGINT})
        signal.signal(signal.SIGINT, handler)
        if held:
            signal.raise_signal(signal.SIGINT)


def _end_with_parent() -> None:
    """Have this worker end when its parent is killed: it would wait for work for ever."""

    def wait():
        multiprocessing.parent_process().join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
