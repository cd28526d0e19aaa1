"""Completions in the API's shape. No TensorFlow."""

import codecs
import time
import uuid
from collections.abc import Sequence

from ..encoder import Encoder
from .requests import Asked


class Choice:
    """One of the texts of an answer, as it grows: `chunk` is what is new of it.

    prompt: its ids. index: its place in the answer. row: the engine's, from which it comes.
    """

    def __init__(self, enc: Encoder, asked: Asked, prompt: Sequence[int], index: int):
        self.enc, self.asked, self.prompt, self.index = enc, asked, prompt, index
        self.offsets = Offsets(enc)
        self.told = 0  # tokens
        self.begun = False

    def chunk(self, row, new: str, count: int, ended: str | None = None) -> dict:
        """New text and the tokens up to `count` of a row; the prompt before them where it is asked
        for."""
        logprobs = None if self.asked.logprobs is None else self._logprobs(row, count)
        text = self.enc.decode(self.prompt) if self.asked.echo and not self.begun else ''
        self.begun, self.told = True, count
        return {
            'text': text + new,
            'index': self.index,
            'logprobs': logprobs,
            'finish_reason': ended,
        }

    def _logprobs(self, row, count: int) -> dict:
        """Of the tokens that were not told yet."""
        text = row.text
        tokens = text.tokens[self.told : count]
        log_probs = text.log_probs[self.told : count]
        best = text.best[self.told : count] or [[]] * len(tokens)
        if not self.begun:
            if self.asked.echo:
                tokens = [*self.prompt, *tokens]
                log_probs = [*row.prompt_log_probs, *log_probs]
                best = [*row.prompt_best, *best]
            else:
                self.offsets.of(self.prompt)
        return {
            'tokens': [text_of(self.enc, token) for token in tokens],
            'token_logprobs': log_probs,
            'top_logprobs': self._top(tokens, log_probs, best) if self.asked.logprobs else None,
            'text_offset': self.offsets.of(tokens),
        }

    def _top(self, tokens, log_probs, best) -> list[dict | None]:
        """The most probable ones at each place, and the one that was chosen."""
        places = []
        for token, log_prob, some in zip(tokens, log_probs, best, strict=True):
            if some is None:
                places.append(None)
                continue
            chosen = [*some[: self.asked.logprobs], (token, log_prob)]
            places.append({text_of(self.enc, other): figure for other, figure in chosen})
        return places


class Offsets:
    """Where in a text each token begins, in characters: 'a', ' b' -> 0, 1."""

    def __init__(self, enc: Encoder):
        self.decode, self.n = enc.decode_in_pieces(), 0

    def of(self, tokens: Sequence[int]) -> list[int]:
        """Of these, which go on the text; half a character is where it will be."""
        places = []
        for token in tokens:
            places.append(self.n)
            self.n += len(self.decode([token]))
        return places


def text_of(enc: Encoder, token: int) -> str:
    r"""A token alone: ' night', or bytes:\xe2\x80 for a part of a character."""
    content = enc.decoder[token]
    try:
        return codecs.decode(content, 'utf-8')
    except UnicodeDecodeError:
        return 'bytes:' + ''.join(f'\\x{byte:02x}' for byte in content)


class Answer:
    """What all pieces of one answer have in common."""

    def __init__(self, model: str):
        self.head = {
            'id': f'cmpl-{uuid.uuid4().hex}',
            'object': 'text_completion',
            'created': int(time.time()),
            'model': model,
        }

    def of(self, choices: list[dict], **more) -> dict:
        return self.head | {'choices': choices} | more


def usage(asked: Asked, completion_tokens: int) -> dict:
    """Of the prompts, each counted once, and of all that was drawn."""
    prompt_tokens = sum(map(len, asked.prompts))
    return {
        'prompt_tokens': prompt_tokens,
        'completion_tokens': completion_tokens,
        'total_tokens': prompt_tokens + completion_tokens,
    }
