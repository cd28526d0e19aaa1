"""BPE-dropout (Provilkov et al., 2019): other tokens for a text each time. No TensorFlow."""

import random
from itertools import pairwise

from ..encoder import Encoder

LETTERS = 100  # a longer word, which takes the square of its length, keeps its own tokens


class BpeDropout(Encoder):
    """An encoder that leaves out each merge with probability `rate`, as `seed` has it.

    A model that learns from many such encodings of a small text knows the letters of its tokens.
    """

    def __init__(self, enc: Encoder, rate: float, seed: str):
        super().__init__(enc.encoder, list(enc.bpe_ranks))
        self.rate, self.random = rate, random.Random(seed).random

    def bpe(self, token: str) -> str:
        """'Ġlower' -> 'Ġlow er', or 'Ġ low er', ...: of the pairs that are left, the earliest."""
        if len(token) > LETTERS:
            return super().bpe(token)
        parts = list(token)
        while kept := [
            (self.bpe_ranks[pair], i)
            for i, pair in enumerate(pairwise(parts))
            if pair in self.bpe_ranks and self.random() >= self.rate
        ]:
            _, i = min(kept)
            parts[i : i + 2] = [parts[i] + parts[i + 1]]
        return ' '.join(parts)

    def encode(self, text: str) -> list[int]:
        anew = self.cache.__missing__  # rather than what the word was before
        return [i for word in self.pat.findall(text) for i in anew(word)]
