"""Token chunks, and the windows that training draws from them. No TensorFlow."""

import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from ..encoder import Encoder
from ..errors import UserError
from ..training.cluster import ALONE, Cluster
from .encode_dataset import chunk_texts, encode_text, size_of
from .read_text import find_files, read_pieces, silent
from .token_file import read_npz, spool


def load_dataset(
    enc: Encoder,
    path: str | Path | Sequence[str | Path],
    combine: int = 50000,
    encoding: str = 'utf-8',
    column: str | None = None,
    cluster: Cluster = ALONE,
    say: Callable[[str], None] = silent,
) -> list:
    """The chunks of a text file, folder, pattern or .npz, or of several; says what each gave.

    Texts shorter than `combine` letters are put together, the end-of-text token between them.
    Chunks have a length and slices, which read them from a file: memory holds none. Two .npz or
    more are dealt out to the workers of `cluster`; one, and text, is for all of them.
    Raises UserError for what cannot be read, and for ids that `enc` does not have.
    """
    chunks, last = [], len(enc.decoder) - 1
    for source in [path] if isinstance(path, str | Path) else path:
        files = find_files(source, encoding, encoded=True, say=say)
        texts = [file for file in files if file.suffix != '.npz']
        shards = [file for file in files if file.suffix == '.npz']
        if 1 < len(shards) < cluster.size:
            raise UserError(
                f'{source} has {len(shards)} .npz files for {cluster.size} workers; '
                'name one, or at least as many'
            )
        if len(shards) > 1:
            shards = shards[cluster.index :: cluster.size]
        pieces = read_pieces(texts, encoding, column)
        found = [c for file in shards for c in read_npz(file, last)]
        encoded = ([encode_text(enc, text)] for text in chunk_texts(pieces, combine))
        found += spool(encoded, np.min_scalar_type(last))
        if not found:
            raise UserError(f'{source} holds no text; name a file, folder or pattern that does')
        say(size_of(source, len(found), sum(map(len, found))))
        chunks += found
    return chunks


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
