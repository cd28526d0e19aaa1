"""A text that is asked for, and what all rows of the batch ask of their logits."""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from ..options import SamplingOptions
from ..sample import draw_uniforms
from ..stops import Text
from .programs import SORTED, Settings

PENALTIES = {'repetition_penalty': 1, 'frequency_penalty': 0, 'presence_penalty': 0}


@dataclasses.dataclass(eq=False)
class Row:
    """One text that is asked for, and how far it is.

    context: the prompt's ids. options: of it; `length` None draws nothing. text: where the tokens
    go. number: of its random numbers, as sample.generate has it. deliver(row, new, count, ended) is
    called in the engine's thread with each piece of text, how many tokens there are so far, and at
    the end why it ended; or with an exception as `new`, where it went wrong. scored: whether the
    prompt's own log-probabilities are asked for: they are in prompt_log_probs and prompt_best by
    the first call, the first token's are None.
    """

    context: Sequence[int]
    options: SamplingOptions
    text: Text
    deliver: Callable[['Row', str | Exception, int, str | None], None]
    number: int = 0
    min_tokens: int = 0
    scored: bool = False

    def __post_init__(self):
        self.prompt_log_probs, self.prompt_best = [None], [None]
        self.stops, self.left = self.text.stops, False
        self.uniforms = draw_uniforms(self.options.seed, [self.number], self.options.length or 1)[0]

    def add(self, token: int, log_prob: float, best: list) -> str:
        """Append a token; what is certain to be text by it."""
        early = len(self.text.tokens) + 1 < self.min_tokens
        self.text.stops = [] if early else self.stops
        self.text.include_stop = self.options.include_stop and token != self.text.end
        new = self.text.add([token], [log_prob], [best] if self.options.logprobs else [])
        return new + self.text.finish() if self.is_full else new

    @property
    def is_full(self) -> bool:
        return len(self.text.tokens) >= (self.options.length or 0)


def settings_of(rows: Sequence[Row | None], n_vocab: int, end: int) -> Settings:
    """What rows ask for; nothing, where there is None."""
    nothing = SamplingOptions(temperature=0)
    asked = [row.options if row else nothing for row in rows]
    drawn = [options for options in asked if not options.greedy]
    bias = np.zeros([len(rows), n_vocab], np.float32)
    for own, options in zip(bias, asked, strict=True):
        for token, value in (options.logit_bias or {}).items():
            own[token] = value
    some = [
        bias.any() or any(getattr(x, name) != no for x in asked for name, no in PENALTIES.items()),
        any(options.top_k for options in drawn),
        any(options.top_k > SORTED for options in drawn),
        any(options.top_p < 1 for options in drawn),
        any(options.min_p for options in drawn),
        any(options.logprobs for options in asked),
    ]

    def column(values, dtype=tf.float32):
        return tf.constant(values, dtype, [len(rows), 1])

    names = ('top_p', 'min_p', *PENALTIES)
    return Settings(
        **{name: column([getattr(options, name) for options in asked]) for name in names},
        temperature=column([1 if options.greedy else options.temperature for options in asked]),
        greedy=column([options.greedy for options in asked], tf.bool),
        top_k=column([min(options.top_k, n_vocab) for options in asked], tf.int32),
        min_tokens=column([row.min_tokens if row else 0 for row in rows], tf.int32),
        logit_bias=tf.constant(bias),
        end=tf.constant(end),
        any=tf.constant([bool(x) for x in some]),
    )
