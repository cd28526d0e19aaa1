"""Byte-level byte-pair encoding: text to GPT-2's token ids and back. No TensorFlow."""

import codecs
import heapq
import json
from collections.abc import Callable, Iterable
from functools import lru_cache
from itertools import chain
from pathlib import Path

import regex as re

from .errors import UserError
from .model_folder import find_model, how_to_mend

END_OF_TEXT = '<|endoftext|>'
CACHE_WORDS, CACHE_LETTERS = 2**17, 32  # words kept, and their longest: some 30 MiB


@lru_cache
def bytes_to_unicode() -> dict[int, str]:
    """A printable character for each byte: 65 -> 'A', 32 -> 'Ġ'.

    Merges are written as text separated by blanks, so blanks and control characters move
    to code points from 256 on; the printable bytes stand for themselves.
    """
    bs = [*range(ord('!'), ord('~') + 1), *range(ord('¡'), ord('¬') + 1)]
    bs += range(ord('®'), ord('ÿ') + 1)
    moved = [b for b in range(256) if b not in bs]
    return {b: chr(b) for b in bs} | {b: chr(256 + n) for n, b in enumerate(moved)}


def get_pairs(word: tuple[str, ...]) -> set[tuple[str, str]]:
    """The pairs of neighbours in a word: ('l', 'o', 'w') -> {('l', 'o'), ('o', 'w')}."""
    return set(zip(word, word[1:], strict=False))


class Encoder:
    """Text to ids and back, from a vocabulary and its merges in the order they were learnt.

    encoder: token -> id, tokens spelt in the characters of `bytes_to_unicode`.
    bpe_merges: pairs of tokens, the earliest merge first.
    errors: what `decode` makes of bytes that are not UTF-8, as in bytes.decode.
    """

    def __init__(
        self, encoder: dict[str, int], bpe_merges: list[tuple[str, str]], errors='replace'
    ):
        self.encoder = encoder
        self.errors = errors
        self.byte_encoder = bytes_to_unicode()
        self.byte_decoder = {c: b for b, c in self.byte_encoder.items()}
        self.bpe_ranks = {pair: rank for rank, pair in enumerate(bpe_merges)}
        self.pat = re.compile(
            r"""'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"""
        )
        needed = chain(self.byte_decoder, map(''.join, bpe_merges), [END_OF_TEXT])
        if lacking := [token for token in needed if token not in encoder]:
            raise UserError(f'the vocabulary lacks the token {lacking[0]!r}')
        self.decoder = {
            i: bytes(map(self.byte_decoder.__getitem__, token)) for token, i in encoder.items()
        }
        self.cache = _WordCache(self)

    @property
    def end_of_text(self) -> int:
        """The id that separates documents: 50256 for GPT-2."""
        return self.encoder[END_OF_TEXT]

    def bpe(self, token: str) -> str:
        """Merge neighbours, the earliest learnt pair first: 'Ġlower' -> 'Ġlow er'.

        A heap of the pairs that can merge, so that a word's cost is n log n in its length:
        the original's rounds over the whole word take hours for a megabyte without blanks.
        """
        if token in self.encoder:
            return token  # a learnt token is what its own letters merge to
        parts = list(token)
        left, right = list(range(-1, len(parts) - 1)), list(range(1, len(parts) + 1))
        pairs = []

        def push(i, j):
            pair = parts[i], parts[j]
            if pair in self.bpe_ranks:
                heapq.heappush(pairs, (self.bpe_ranks[pair], i, j, pair))

        for i in range(len(parts) - 1):
            push(i, i + 1)
        while pairs:
            _, i, j, pair = heapq.heappop(pairs)
            if right[i] != j or (parts[i], parts[j]) != pair:
                continue  # one of the two has merged with its other neighbour since
            parts[i], parts[j] = ''.join(pair), ''
            right[i] = right[j]
            if left[i] >= 0:
                push(left[i], i)
            if right[i] < len(parts):
                left[right[i]] = i
                push(i, right[i])
        return ' '.join(filter(None, parts))

    def encode(self, text: str) -> list[int]:
        """'Hello world' -> [15496, 995]. `<|endoftext|>` is text here, like any other.

        Raises UserError for a lone surrogate, which no UTF-8 text can hold.
        """
        return list(chain.from_iterable(map(self.cache.__getitem__, self.pat.findall(text))))

    def decode(self, ids: Iterable[int]) -> str:
        """[15496, 995] -> 'Hello world'. Bytes that are not UTF-8 become U+FFFD.

        Raises UserError for an id that the vocabulary does not have.
        """
        return self.decode_in_pieces()(ids, final=True)

    def decode_in_pieces(self) -> Callable[..., str]:
        """A `decode` to be called with one piece of a text after another, `final` with the last.

        The bytes of a character that is not whole yet are held back for the next piece.
        """
        pending = codecs.getincrementaldecoder('utf-8')(self.errors)

        def decode(ids: Iterable[int], final: bool = False) -> str:
            try:
                return pending.decode(b''.join(map(self.decoder.__getitem__, ids)), final)
            except KeyError as error:
                last = len(self.decoder) - 1
                raise UserError(f'no token has the id {error}: ids go from 0 to {last}') from None

        return decode


class _WordCache(dict):
    """A word's ids, computed when first asked for; emptied when full, so memory is bounded."""

    def __init__(self, enc: Encoder):
        self.enc = enc

    def __missing__(self, word: str) -> list[int]:
        try:
            token = ''.join(map(self.enc.byte_encoder.__getitem__, word.encode('utf-8')))
        except UnicodeEncodeError as error:
            raise UserError(
                f'the text holds a lone surrogate, {word[error.start]!a}, which is no character; '
                "read it with open(..., encoding='utf-8', errors='replace')"
            ) from None
        ids = [self.enc.encoder[part] for part in self.enc.bpe(token).split(' ')]
        if len(self) >= CACHE_WORDS:
            self.clear()
        if len(word) <= CACHE_LETTERS:
            self[word] = ids
        return ids


def get_encoder(model_name: str, models_dir='models') -> Encoder:
    """The encoder of a model, by its name; raises UserError if its files are broken."""
    return read_encoder(find_model(model_name, models_dir, files=('encoder.json', 'vocab.bpe')))


def read_encoder(folder: Path) -> Encoder:
    """The encoder of a folder's encoder.json and vocab.bpe; raises UserError if they are broken."""
    path = folder / 'encoder.json'
    try:
        encoder = json.loads(path.read_text('utf-8'))
        path = folder / 'vocab.bpe'
        lines = path.read_text('utf-8').split('\n')
        merges = [(first, second) for first, second in map(str.split, lines[1:-1])]
        return Encoder(encoder, merges)
    except (OSError, AttributeError, TypeError, KeyError, ValueError) as error:
        raise UserError(f'{path} is no vocabulary: {error}; {how_to_mend(folder)}') from error
