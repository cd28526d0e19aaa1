"""Tokens that no text becomes: those a vocabulary has, and more of them. No TensorFlow."""

import json
from collections.abc import Iterable

from .encoder import END_OF_TEXT, SPECIAL, Encoder, bytes_to_unicode
from .errors import UserError
from .model_folder import TOKENIZER, VOCABULARY


def specials(enc) -> dict[str, int]:
    """{'<|endoftext|>': 50256, '</s>': 50257}, of an Encoder or a Tokenizer."""
    if not isinstance(enc, Encoder):
        added = enc.library.get_added_tokens_decoder()
        return {token.content: i for i, token in added.items()} | {END_OF_TEXT: enc.end_of_text}
    learnt = enc.byte_decoder.keys() | set(map(''.join, enc.bpe_ranks))
    found = {token: i for token, i in enc.encoder.items() if token not in learnt}
    return {enc.decoder[i].decode('utf-8', 'replace'): i for i in found.values()}


def extended(enc, tokens: Iterable[str]):
    """The encoder, with those of `tokens` that it lacks behind its own.

    Raises UserError for a token that is no word between signs, as text could become it.
    """
    known = specials(enc)
    new = [token for token in dict.fromkeys(tokens) if token not in known]
    for token in new:
        if not SPECIAL.fullmatch(token):
            raise UserError(
                f'a special token is a word between signs, as <answer>, not {token!r}; write it so'
            )
    if not new:
        return enc
    if isinstance(enc, Encoder):
        ids = {spelt(token): len(enc.encoder) + i for i, token in enumerate(new)}
        merges = sorted(enc.bpe_ranks, key=enc.bpe_ranks.get)
        return Encoder(enc.encoder | ids, merges)
    library = type(enc.library).from_str(enc.library.to_str())
    library.add_special_tokens(new)
    n_vocab = max(enc.n_vocab, *(i + 1 for i in library.get_vocab(True).values()))
    return type(enc)(library, enc.tokens[enc.end_of_text], n_vocab)


def spelt(token: str) -> str:
    """As encoder.json has it, in a character for each byte: '</s>' -> '</s>', 'é' -> 'Ã©'."""
    return ''.join(map(bytes_to_unicode().__getitem__, token.encode()))


def vocabulary_files(enc) -> dict[str, bytes]:
    """What changes in a model's folder when its vocabulary is extended: {name: content}."""
    if isinstance(enc, Encoder):
        return {VOCABULARY[0]: json.dumps(enc.encoder).encode()}
    return {TOKENIZER[0]: enc.library.to_str().encode()}
