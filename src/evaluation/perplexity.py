"""Perplexity of texts under a model, by a window that slides over them."""

import itertools
import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from ..data.encode_dataset import pieces_for
from ..data.read_text import check_column, find_files, read_pieces, silent
from ..data.token_file import read_npz
from ..encoder import Encoder
from ..errors import UserError
from ..formats.tokenizer import HALF


def read_documents(
    enc: Encoder,
    paths: Sequence[str],
    encoding: str = 'utf-8',
    column: str | None = None,
    say: Callable[[str], None] = silent,
) -> list[np.ndarray]:
    """The ids of each document: a text file, a row of a .csv or .jsonl, a chunk of an .npz.

    Says what is left out of a folder. Raises UserError for what cannot be read, and where no
    document has two tokens.
    """
    files = [file for path in paths for file in find_files(path, encoding, True, say)]
    check_column(files, column)
    texts = [file for file in files if file.suffix != '.npz']
    encoded, last = [file for file in files if file.suffix == '.npz'], len(enc.decoder) - 1
    documents = [chunk[:] for file in encoded for chunk in read_npz(file, last)]
    pieces = read_pieces(texts, encoding, column)
    for _, document in itertools.groupby(pieces, key=lambda item: item[0]):
        cuts = pieces_for(enc, (text for _, text in document))
        documents.append(np.concatenate([np.array(enc.encode(piece)) for piece in cuts]))
    if max(map(len, documents), default=0) < 2:
        raise UserError(f'{", ".join(paths)} holds no two tokens in a row; name a text that does')
    return documents


def windows(n: int, size: int, stride: int) -> Iterator[tuple[int, int, int]]:
    """Yield (begin, first, end): the tokens first:end of n, predicted from those since begin.

    Each has at least size - stride tokens before it, as far as there are so many. A window's
    own first token is not predicted: that is the text's first, and where stride is size, others.

    10, 4, 2 -> (0, 1, 4), (2, 4, 6), (4, 6, 8), (6, 8, 10)
    """
    end = 0
    for begin in range(0, n, stride):
        first, end = max(end, begin + 1), min(begin + size, n)
        if first < end:
            yield begin, first, end
        if end == n:
            return


def measure(scorer, documents: Sequence[np.ndarray], enc: Encoder, stride: int) -> dict:
    """What the documents hold, and how well a score.Scorer predicts it: {name: figure}."""
    requests = [
        (ids[begin:first], ids[first:end])
        for ids in documents
        for begin, first, end in windows(len(ids), scorer.hparams.n_ctx, stride)
    ]
    logs = [logs for logs, _ in scorer.score(requests, unit=' windows')]
    tokens, loss = sum(map(len, logs)), -sum(float(np.sum(x, dtype=np.float64)) for x in logs)
    words, size = count(documents, enc)
    return {
        'documents': len(documents),
        'tokens': tokens,
        'words': words,
        'bytes': size,
        'loss': loss / tokens,
        'token_perplexity': math.exp(min(loss / tokens, 700)),
        'word_perplexity': math.exp(min(loss / words, 700)) if words else None,
        'bits_per_byte': loss / math.log(2) / size if size else None,
    }


def count(documents: Sequence[np.ndarray], enc: Encoder) -> tuple[int, int]:
    """How many words, between blanks, and bytes of UTF-8; an end-of-text token is neither."""
    words = size = 0
    for ids in documents:
        for part in np.split(ids, np.flatnonzero(ids == enc.end_of_text)):
            part = part[part != enc.end_of_text].tolist()
            text = enc.decode(part)
            words += len(text.split())
            # Half a character at an end of a chunk is no text.
            size += sum(len(enc.decoder[i]) for i in part) if HALF in text else len(text.encode())
    return words, size
