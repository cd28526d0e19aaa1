"""Large texts encoded by tiktoken, where it is installed (extra `fast`). No TensorFlow."""

import functools
import importlib.util
import itertools
import re
import unicodedata

from ..encoder import END_OF_TEXT, Encoder

SAMPLE = 512  # letters of each text that are encoded by both
RARE = '\U00010000-\U0001f2ff\U0001f650-\U0010ffff'  # all of so high a number but emoji


class Bulk:
    """Encodes as `enc` does, one and a half times to twice as fast.

    Characters that Unicode may have got since one of the two was built are left to `enc`, and so
    is a text whose first letters are not encoded alike.
    """

    def __init__(self, enc: Encoder):
        import tiktoken

        self.enc, self.decoder, self.end_of_text = enc, enc.decoder, enc.end_of_text
        ranks = {enc.decoder[i]: i for token, i in enc.encoder.items() if token != END_OF_TEXT}
        self.encoding = tiktoken.Encoding(
            'bulk', pat_str=enc.pat.pattern, mergeable_ranks=ranks, special_tokens={}
        )

    def encode(self, text: str) -> list[int]:
        """The ids of a text of up to some 100,000 letters: tiktoken's own stack ends at more."""
        sample = text[:SAMPLE]
        if not text.isascii() and unknown().search(text):
            return self.enc.encode(text)
        if self.encoding.encode_ordinary(sample) != self.enc.encode(sample):
            return self.enc.encode(text)
        return self.encoding.encode_ordinary(text)  # sooner done than encode_to_numpy


def for_bulk(enc) -> Bulk | Encoder:
    """What encodes large texts as `enc` does: Bulk where tiktoken can, else enc itself.

    tiktoken merges in the order of the ids, and knows no tokens but bytes and what merges make.
    """
    if type(enc) is not Encoder or not importlib.util.find_spec('tiktoken'):
        return enc
    made = [enc.encoder[a + b] for a, b in enc.bpe_ranks]
    others = len(enc.byte_encoder) + len([END_OF_TEXT])
    if made != sorted(set(made)) or len(made) + others != len(enc.encoder):
        return enc
    return Bulk(enc)


@functools.cache
def unknown() -> re.Pattern:
    """A character that this Python's table of Unicode does not have, or a rare one.

    Half of a pair, which no text can hold, is among them.
    """
    missing = (n for n in range(0x10000) if unicodedata.category(chr(n)) in ('Cn', 'Cs'))
    runs = itertools.groupby(enumerate(missing), key=lambda item: item[1] - item[0])
    parts = []
    for _, run in runs:
        numbers = [n for _, n in run]
        parts.append(f'{chr(numbers[0])}-{chr(numbers[-1])}')
    return re.compile(f'[{"".join(parts)}{RARE}]')
