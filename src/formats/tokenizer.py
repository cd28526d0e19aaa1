"""Text to ids and back by a tokenizer.json, for models whose vocabulary is not GPT-2's own.

What Encoder does for GPT-2's, with the same methods, by Hugging Face's `tokenizers`.
"""

import functools
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from ..encoder import as_list
from ..errors import UserError, what_mends
from ..model_folder import TOKENIZER, how_to_mend
from .vocabulary import special_tokens

HALF = '\ufffd'  # stands for bytes that are no character, or none yet
LONGEST = 16  # tokens that are held back, in the hope that they become a character


class Tokenizer:
    """Text to ids and back; a word between signs is a token where tokenizer.json says so.

    library: a tokenizers.Tokenizer. end: the token that separates documents. n_vocab: of the
    model, which may have more numbers than there are tokens; those stand for no text.
    """

    def __init__(self, library, end: str, n_vocab: int | None = None):
        library.no_truncation()
        library.no_padding()
        self.library, self.end_of_text = library, library.token_to_id(end)
        self.tokens = {i: token for token, i in library.get_vocab(True).items()}
        self.n_vocab = n_vocab or max(self.tokens) + 1
        if self.end_of_text is None:
            raise ValueError(f'it has no token {end!r}, which ends a text')
        if max(self.tokens) >= self.n_vocab:
            raise ValueError(f'it has the id {max(self.tokens)}, and the model {n_vocab} tokens')

    @functools.cached_property
    def decoder(self) -> dict[int, bytes]:
        """What each token stands for within a text, as bytes of UTF-8."""
        end = self.end_of_text
        texts = self.library.decode_batch(
            [[end, i] for i in range(self.n_vocab)], skip_special_tokens=False
        )
        start = len(self.library.decode([end], skip_special_tokens=False))
        found = {i: text[start:].encode() for i, text in enumerate(texts)}
        for i, token in self.tokens.items():
            if HALF.encode() in found[i] and HALF not in token:  # as many bytes, that are no text
                found[i] = b'\xff' * (1 if token.startswith('<0x') else len(token))
        return found

    def encode(self, text: str) -> list[int]:
        """'안녕 하세요' -> [10401, 8704]. Raises UserError as Encoder.encode does."""
        if not isinstance(text, str):
            raise UserError(f'encode takes one text, a str, not {text!r:.60}')
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise UserError(
                f'the text holds a lone surrogate, {text[error.start]!a}, which is no character; '
                "read it with open(..., encoding='utf-8', errors='replace')"
            ) from None
        return self.library.encode_batch_fast([text], add_special_tokens=False)[0].ids

    def decode(self, ids: Iterable[int]) -> str:
        """[10401, 8704] -> '안녕 하세요'. Raises UserError as Encoder.decode does."""
        ids = as_list(ids)
        if ids and not 0 <= min(ids) <= max(ids) < self.n_vocab:
            wrong = next(i for i in ids if not 0 <= i < self.n_vocab)
            last = self.n_vocab - 1
            raise UserError(f'no token has the id {wrong}: ids go from 0 to {last}')
        return self.library.decode(ids, skip_special_tokens=False)

    def decode_in_pieces(self, before: Sequence[int] = ()) -> Callable[..., str]:
        """A `decode` to be called with one piece of a text after another, `final` with the last.

        before: the ids that the text continues: they say whether its first word has a blank.
        A character that is not whole yet is held back for the next piece.
        """
        earlier, new = as_list(before), []
        said = self.decode(earlier).rstrip(HALF)

        def decode(ids: Iterable[int], final: bool = False) -> str:
            nonlocal earlier, new, said
            new += as_list(ids)
            text = self.decode(earlier + new)
            certain = text.startswith(said) and not text.endswith(HALF)
            if not certain and not final and len(new) < LONGEST:
                return ''
            piece = text[len(os.path.commonprefix([text, said])) :]
            if piece:
                earlier, new = new, []
                said = self.decode(earlier)
            return piece

        return decode


def read_tokenizer(folder: Path, n_vocab: int | None = None) -> Tokenizer:
    """That of a model folder. Raises UserError where its files are broken."""
    try:
        import tokenizers
    except ImportError as error:
        raise UserError("tokenizers is not installed; run: pip install -e '.[hf]'") from error
    path = folder / TOKENIZER[0]
    try:
        library = tokenizers.Tokenizer.from_str(path.read_text('utf-8'))
        path = folder / TOKENIZER[1]
        return Tokenizer(library, special_tokens(folder).get('eos_token', ''), n_vocab)
    except Exception as error:  # the library raises nothing more particular
        mend = what_mends(error, how_to_mend(folder))
        raise UserError(f'{path} holds no vocabulary: {error}; {mend}') from error
