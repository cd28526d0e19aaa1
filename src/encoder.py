"""Byte-level byte-pair encoding: text to GPT-2's token ids and back. No TensorFlow."""

import codecs
import contextlib
import hashlib
import heapq
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from itertools import chain
from pathlib import Path

import regex as re

from .errors import UserError, what_mends
from .model_folder import (
    OPENAI_VOCABULARY,
    VOCABULARY,
    find_model,
    how_to_mend,
    parse_object,
    vocabulary_of,
)

END_OF_TEXT = '<|endoftext|>'
OPENAI_TOKENS = 50257
# A word between signs, <|endoftext|> or [PAD]: text is cut there, so that no merge makes it.
SPECIAL = re.compile(r'[^\s\p{L}\p{N}].*[\p{L}\p{N}].*[^\s\p{L}\p{N}]', re.DOTALL)
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

        Raises UserError for a lone surrogate, which no UTF-8 text can hold, and what is no str.
        """
        try:
            return list(chain.from_iterable(map(self.cache.__getitem__, self.pat.findall(text))))
        except TypeError:
            if isinstance(text, str):
                raise
            raise UserError(f'encode takes one text, a str, not {text!r:.60}') from None

    def decode(self, ids: Iterable[int]) -> str:
        """[15496, 995] -> 'Hello world'. Bytes that are not UTF-8 become U+FFFD.

        ids: any row of whole numbers, of NumPy and a tensor, too. Raises UserError for what is
        none, and for an id that the vocabulary does not have.
        """
        return self.decode_in_pieces()(ids, final=True)

    def decode_in_pieces(self, before: Sequence[int] = ()) -> Callable[..., str]:
        """A `decode` to be called with one piece of a text after another, `final` with the last.

        The bytes of a character that is not whole yet are held back for the next piece. before:
        ids of what the text continues, which here change nothing; in a Tokenizer they do.
        """
        pending = codecs.getincrementaldecoder('utf-8')(self.errors)

        def decode(ids: Iterable[int], final: bool = False) -> str:
            if type(ids) is not list:
                ids = as_list(ids)
            try:
                return pending.decode(b''.join(map(self.decoder.__getitem__, ids)), final)
            except TypeError:  # a tensor for each id
                return decode(as_list(ids), final)
            except KeyError as error:
                last = len(self.decoder) - 1
                raise UserError(f'no token has the id {error}: ids go from 0 to {last}') from None

        return decode


def as_list(ids) -> list[int]:
    """Ids as numbers of Python; UserError where they are no row of ids."""
    import numpy as np  # which whoever encodes alone has no need of

    if isinstance(ids, Iterable) and not isinstance(ids, str | bytes | bytearray):
        with contextlib.suppress(ValueError):  # rows of different lengths
            array = np.asarray(ids if hasattr(ids, '__array__') else [*ids])
            if array.ndim == 1 and (array.dtype.kind in 'iu' or not array.size):
                return array.tolist()
    raise UserError(f'decode takes a row of ids, as in [15496, 995], not {ids!r:.60}')


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
    """The encoder of a model, by its name; raises UserError if its files are broken.

    >>> enc = get_encoder('demo')
    >>> enc.encode('Good night'), enc.decode([38, 373, 851])
    ([38, 373, 851], 'Good night')
    """
    return read_encoder(find_model(model_name, models_dir, files=VOCABULARY))


def read_encoder(folder: Path, n_vocab: int | None = None) -> Encoder:
    """The encoder of a folder's encoder.json and vocab.bpe; raises UserError if they are broken.

    Of a tokenizer.json it is a formats.tokenizer.Tokenizer, which has the same methods.
    n_vocab: how many tokens the model has, where that is known.
    """
    if vocabulary_of(folder) != VOCABULARY:
        from .formats.tokenizer import read_tokenizer

        return read_tokenizer(folder, n_vocab)
    path = folder / 'encoder.json'
    try:
        content = path.read_bytes()
        encoder = parse_object(content)
        released = [_is_openais(path, content, encoder)]
        path = folder / 'vocab.bpe'
        content = path.read_bytes()
        merges = _parse_merges(content)
        released.append(_is_openais(path, content, encoder))
        if not all(released):
            path = folder
            _check(encoder, merges)
    except (OSError, ValueError) as error:
        mend = what_mends(error, how_to_mend(folder))
        raise UserError(f'{path} holds no vocabulary: {error}; {mend}') from error
    if n_vocab not in (None, len(encoder)):
        has = f'{folder} has a vocabulary of {len(encoder)} tokens'
        raise UserError(f'{has} for a model of n_vocab {n_vocab}; {how_to_mend(folder)}')
    return Encoder(encoder, merges)


def _is_openais(path: Path, content: bytes, encoder: dict) -> bool:
    """Whether the file is the one that OpenAI released, by its sum: then it needs no check."""
    size, sha256 = OPENAI_VOCABULARY[path.name]
    if (len(content), len(encoder)) != (size, OPENAI_TOKENS):
        return False
    if hashlib.sha256(content).hexdigest() != sha256:
        raise ValueError("it is of the length of OpenAI's, and of another SHA-256")
    return True


def _parse_merges(content: bytes) -> list[tuple[str, str]]:
    version, *lines = content.decode('utf-8').removesuffix('\n').split('\n')
    if not version.startswith('#version'):
        raise ValueError('its first line does not begin with #version')
    merges = [tuple(line.split()) for line in lines]
    if wrong := [number for number, merge in enumerate(merges, 2) if len(merge) != 2]:
        raise ValueError(f'its line {wrong[0]} does not have two tokens')
    return merges


def _check(encoder: dict[str, int], merges: list[tuple[str, str]]) -> None:
    """Raise ValueError where a vocabulary and its merges do not fit each other.

    Every token is a byte, or what a merge makes, or special by its looks: so a merge that is
    lost or changed leaves a token that none makes.
    """
    ids, made = list(encoder.values()), set(map(''.join, merges))
    byte_decoder = {c: b for b, c in bytes_to_unicode().items()}
    if set(map(type, ids)) != {int} or sorted(ids) != list(range(len(ids))):
        raise ValueError(f'its {len(ids)} tokens do not have the ids 0 to {len(ids) - 1}')
    if len(set(merges)) < len(merges):
        raise ValueError('it has the same merge twice')
    for token in chain(byte_decoder, chain.from_iterable(merges), made, [END_OF_TEXT]):
        if token not in encoder:
            raise ValueError(f'encoder.json lacks the token {token!r}')
    for token in sorted(encoder.keys() - made - byte_decoder.keys()):
        if not byte_decoder.keys() >= set(token):
            raise ValueError(f'the token {token!r} is not spelt as bytes are')
        text = bytes(map(byte_decoder.__getitem__, token)).decode('utf-8', 'ignore')
        if not SPECIAL.fullmatch(text):
            raise ValueError(f'no merge makes the token {token!r}')
