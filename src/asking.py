"""What one asks of a loaded model, with any text: Model's methods."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf

from . import completion, runtime
from .errors import UserError
from .model import block, hidden, predict
from .options import SamplingOptions, check_context

if TYPE_CHECKING:
    from .loading import Model

LESS_MEMORY = 'ask for fewer texts at once or a lower length, or load with precision="bfloat16"'


def generate(model: Model, text, options: dict) -> str | list[str]:
    rows, several = rows_of(model, text)
    options = options_of(model, options)
    with runtime.explained(LESS_MEMORY):
        texts = [text.text for text in completion.complete(model, rows, options)]
    return texts if several else texts[0]


def stream(model: Model, text, options: dict) -> Iterator[str]:
    rows, several = rows_of(model, text)
    options = options_of(model, options)
    if several:
        raise UserError('stream takes one text; call it for each, or generate for all of them')
    if options.num_beams > 1:
        raise UserError('beams are known only once all are found; call generate for num_beams')
    return _pieces(model, rows, options)


def _pieces(model: Model, rows: list, options: SamplingOptions) -> Iterator[str]:
    pieces = completion.stream(model, rows, options)
    while True:
        with runtime.explained(LESS_MEMORY):  # not what is done with a piece
            drawn = next(pieces, None)
        if drawn is None:
            return
        [(_, new)] = drawn
        if new:
            yield new


def options_of(model: Model, options: dict) -> SamplingOptions:
    """SamplingOptions of a method's; length None is half of the context, with beams what fits."""
    names = [field.name for field in dataclasses.fields(SamplingOptions)]
    for name in options.keys() - {*names}:
        near = difflib.get_close_matches(name, names, 1)
        meant = f'; did you mean {near[0]}?' if near else f', but {", ".join(names)}'
        raise UserError(f'there is no option {name}{meant}')
    options = SamplingOptions(**options)
    options.check(model.hparams)
    if options.num_beams > 1:
        return options
    return dataclasses.replace(options, length=options.length or model.hparams.n_ctx // 2)


def rows_of(model: Model, text) -> tuple[list[np.ndarray], bool]:
    """The ids of each text, int32 [n], and whether there are several.

    'Hello world' -> one row, False; [15496, 995] -> the same; ['Hello', [995]] -> two, True.
    """
    if hasattr(text, '__array__') and not isinstance(text, str):
        array = np.asarray(text)
        text = array.tolist() if array.dtype.kind in 'UO' else array  # U and O: of str
    if isinstance(text, str):
        return [ids_of(model, text)], False
    is_array = isinstance(text, np.ndarray) and text.ndim > 0
    if not is_array and not isinstance(text, list | tuple | range):
        raise UserError(
            'a text is a str, its ids as in [15496, 995], or a list of such texts, not '
            f'{text!r:.60}'
        )
    if any(isinstance(item, str | list | tuple) or np.ndim(item) for item in text):
        return [ids_of(model, item) for item in text], True
    return [ids_of(model, text)], False


def ids_of(model: Model, text) -> np.ndarray:
    """Of one text that is a str or a row of ids."""
    return check_context(model.enc.encode(text) if isinstance(text, str) else text, model.hparams)


def each(model: Model, text, ask: Callable):
    """What ask(model, ids) returns for a text, or, for several, the list of it."""
    rows, several = rows_of(model, text)
    with runtime.explained(LESS_MEMORY):
        answers = [ask(model, row) for row in rows]
    return answers if several else answers[0]


def logits(model: Model, ids) -> np.ndarray:
    h, _ = hidden(model.params, model.hparams, ids[None])
    return predict(model.params, h)[0].numpy()


def next_tokens(model: Model, ids, k: int) -> list[tuple[str, float]]:
    h, _ = hidden(model.params, model.hparams, ids[None])
    figures, tokens = tf.math.top_k(tf.nn.softmax(predict(model.params, h[0, -1:])[0]), k)
    return list(zip(as_text(model, tokens.numpy()), figures.numpy().tolist(), strict=True))


def log_probs(model: Model, ids) -> list[tuple[str, float]]:
    figures = tf.nn.log_softmax(logits(model, ids)[:-1])
    figures = tf.gather(figures, ids[1:], batch_dims=1).numpy().tolist()
    return list(zip(as_text(model, ids[1:]), figures, strict=True))


def hidden_states(model: Model, ids) -> np.ndarray:
    states = []

    def recording(x, scope, **given):
        if not states:
            states.append(x)
        x, present = block(x, scope, **given)
        states.append(x)
        return x, present

    hidden(model.params, model.hparams, ids[None], block=recording)
    return tf.cast(tf.concat(states, axis=0), tf.float32).numpy()


def attentions(model: Model, ids) -> np.ndarray:
    """By what drops in a block: it is shown the weights, a slice of queries at a time, which look
    at no keys behind their own, and may at none before their windows."""
    layers = [[] for _ in range(model.hparams.n_layer)]

    def looking(layer):
        def look(x, number):
            if number >= 2:  # 0 and 1 are what is added to the stream
                end = sum(earlier.shape[1] for earlier in layers[layer]) + x.shape[2]
                room = [end - x.shape[3], len(ids) - end]
                layers[layer].append(tf.pad(x[0], [[0, 0], [0, 0], room]))
            return x

        return look

    hidden(model.params, model.hparams, ids[None], dropout=looking)
    return np.stack([tf.cast(tf.concat(slices, axis=1), tf.float32) for slices in layers])


def as_text(model: Model, ids) -> list[str]:
    """Each token's text alone; half a character is U+FFFD."""
    return [model.enc.decoder[int(token)].decode('utf-8', 'replace') for token in ids]
