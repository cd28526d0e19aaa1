"""Prompts continued as texts: several side by side, each until it stops."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from tqdm import tqdm

from . import beam, sample
from .encoder import END_OF_TEXT
from .options import SamplingOptions
from .stops import Text

if TYPE_CHECKING:  # which asks for texts here
    from .loading import Model


def stream(
    model: Model,
    contexts: Sequence[Sequence[int]],
    options: SamplingOptions,
    *,
    numbers: Sequence[int] | None = None,
    pause: float = 0.15,
) -> Iterator[list[tuple[Text, str]]]:
    """Yield, again and again, each row's text so far and what is new of it, until all have ended.

    contexts, options, numbers, pause: as sample.generate has them. Raises UserError as it does.
    """
    texts = [Text(model.enc, options.stops, options.include_stop, ids) for ids in contexts]
    pieces = sample.generate(
        model.params, model.hparams, contexts, options, numbers=numbers, pause=pause
    )
    for drawn in pieces:
        figures = drawn.tokens.tolist(), drawn.log_probs.tolist(), likeliest(drawn)
        yield [(text, text.add(*row)) for text, *row in zip(texts, *figures, strict=True)]
        if all(text.ended for text in texts):
            return
    yield [(text, text.finish()) for text in texts]


def likeliest(drawn: sample.Drawn) -> list[list[list[tuple[int, float]]]]:
    """For each row and place the most probable tokens, with their log-probabilities."""
    if not drawn.best:
        return [[]] * len(drawn.tokens)
    tokens, log_probs = (x.tolist() for x in drawn.best)
    return [
        [list(zip(*place, strict=True)) for place in zip(*row, strict=True)]
        for row in zip(tokens, log_probs, strict=True)
    ]


def complete(
    model: Model,
    contexts: Sequence[Sequence[int]],
    options: SamplingOptions,
    *,
    numbers: Sequence[int] | None = None,
) -> list[Text]:
    """The texts that continue `contexts`, with a bar for those who wait; the best one of beams."""
    if options.num_beams > 1:
        return [most_probable(model, context, options)[0] for context in contexts]
    texts = []
    with tqdm(total=options.length, unit=' tokens', leave=False, disable=None, delay=1) as bar:
        for rows in stream(model, contexts, options, numbers=numbers, pause=0.5):
            texts = [text for text, _ in rows]
            bar.update(max(len(text.tokens) for text in texts) - bar.n)
    return texts


def samples(
    model: Model, context: Sequence[int], options: SamplingOptions, nsamples: int, batch_size: int
) -> Iterator[Text]:
    """Yield `nsamples` texts that continue `context`, made `batch_size` at a time; 0: without end.

    With beams those that were found to be the most probable, the best first.
    """
    if options.num_beams > 1:
        yield from most_probable(model, context, options)[: nsamples or None]
        return
    batch_size = min(batch_size, nsamples or batch_size)
    for first in (
        itertools.count(0, batch_size) if nsamples == 0 else range(0, nsamples, batch_size)
    ):
        # The last batch is as large as the others: another size would be compiled.
        numbers = range(first, first + batch_size)
        texts = complete(model, [context] * batch_size, options, numbers=numbers)
        yield from texts[: nsamples - first if nsamples else batch_size]


def most_probable(model: Model, context: Sequence[int], options: SamplingOptions) -> list[Text]:
    """The texts that beam search finds, the best first; only an end of text ends one early."""
    end = model.enc.end_of_text if END_OF_TEXT in options.stops else None
    texts = []
    for found in beam.search(model.params, model.hparams, context, options, end):
        text = Text(model.enc, options.stops, options.include_stop, context)
        text.add(found.tokens.tolist(), found.log_probs.tolist())
        text.finish()
        texts.append(text)
    return texts
