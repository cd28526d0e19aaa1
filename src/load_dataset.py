"""Token chunks, and the windows that training draws from them. No TensorFlow."""

import math
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from .encode_dataset import chunk_texts, encode_text, say
from .encoder import Encoder
from .errors import UserError
from .read_text import find_files, read_pieces


def load_dataset(
    enc: Encoder,
    path: str | Path | Sequence[str | Path],
    combine: int = 50000,
    encoding: str = 'utf-8',
    column: str | None = None,
) -> list[np.ndarray]:
    """The chunks of a text file, folder, pattern or .npz, or of several; says what each gave.

    Texts shorter than `combine` letters are put together, the end-of-text token between them.
    Raises UserError for what cannot be read, and for ids that `enc` does not have.
    """
    chunks = []
    for source in [path] if isinstance(path, str | Path) else path:
        files = find_files(source, encoding, encoded=True)
        texts = [file for file in files if file.suffix != '.npz']
        pieces = read_pieces(texts, encoding, column)
        found = [ids for file in files if file.suffix == '.npz' for ids in read_npz(file, enc)]
        found += [encode_text(enc, text) for text in chunk_texts(pieces, combine)]
        if not found:
            raise UserError(f'{source} holds no text; name a file, folder or pattern that does')
        say(source, len(found), sum(map(len, found)))
        chunks += found
    return chunks


def read_npz(path: Path, enc: Encoder) -> Iterator[np.ndarray]:
    """The chunks of an .npz, in the smallest type that holds the vocabulary."""
    last = len(enc.decoder) - 1
    mend = f'run: python encode.py TEXT {path}'
    try:
        if not zipfile.is_zipfile(path):
            raise ValueError('it is no zip archive')
        with np.load(path) as npz:
            for name in npz.files:
                ids = npz[name]
                if ids.ndim != 1 or ids.dtype.kind not in 'iu':
                    raise ValueError(f'{name} is {ids.dtype} of shape {ids.shape}')
                if not ids.size:
                    continue
                low, high = ids.min(), ids.max()
                if low < 0 or high > last:
                    raise UserError(
                        f'{path} holds the id {low if low < 0 else high}, and the model has 0 '
                        f'to {last}; name the model it was encoded for, or {mend}'
                    )
                yield ids.astype(np.min_scalar_type(last), copy=False)
    except UserError:
        raise
    except (OSError, EOFError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        raise UserError(f'{path} holds no token chunks: {error}; {mend}') from error


class Sampler:
    """Draws windows from chunks, never across their ends, each possible window equally often.

    chunks: anything with a length and slices. seed: of its own random numbers, None for any.
    total_size: tokens in all; longest: in one chunk.
    """

    def __init__(self, chunks: Sequence[np.ndarray], seed: int | None = None):
        self.chunks = chunks
        self.lengths = np.array([len(chunk) for chunk in chunks], np.int64)
        self.total_size = int(self.lengths.sum())
        self.longest = int(self.lengths.max(initial=0))
        if self.longest < 2:
            raise UserError('the dataset holds no two tokens in a row; name one that does')
        self.random = np.random.default_rng(seed)
        self.windows = {}  # length: how many windows there are up to the end of each chunk

    def sample(self, length: int, random: np.random.Generator | None = None) -> np.ndarray:
        """`length` consecutive tokens; where no chunk has so many, as many as the longest has.

        random: what draws, instead of the sampler's own numbers.
        """
        length = min(length, self.longest)
        if length not in self.windows:
            self.windows[length] = np.cumsum(np.maximum(self.lengths - length + 1, 0))
        ends = self.windows[length]
        window = int((random or self.random).integers(ends[-1]))
        i = int(np.searchsorted(ends, window, side='right'))
        start = int(self.lengths[i]) - length - (int(ends[i]) - 1 - window)
        return self.chunks[i][start : start + length]


def batches(
    sampler: Sampler, n_vocab: int, seed: int, step: int, shape, length: int, noise: float = 0
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield (inputs, targets), int32 [*shape, length], for `step` and those after it.

    A step's depend on `seed` and its number alone, so that a run goes on where it stopped.
    A share `noise` of the inputs is replaced by random tokens.
    """
    while True:
        random = np.random.default_rng([seed, step])
        windows = [sampler.sample(length, random) for _ in range(math.prod(shape))]
        targets = np.stack(windows).astype(np.int32).reshape(*shape, -1)
        replaced = random.random(targets.shape) < noise
        anything = random.integers(n_vocab, size=targets.shape, dtype=np.int32)
        yield np.where(replaced, anything, targets), targets
        step += 1
