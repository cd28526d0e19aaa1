"""A page of attention and one of predictions: the figures, put into the HTML that shows them."""

from __future__ import annotations

import base64
import html
import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ..errors import UserError
from ..hparams import HParams
from ..options import check_range

if TYPE_CHECKING:
    from ..encoder import Encoder
    from ..loading import Model

HERE = Path(__file__).parent
LARGEST = 32_000_000  # letters of a page's weights, which a browser still opens at once
BEST = 10  # tokens shown for a place


class Page(NamedTuple):
    """A page that needs nothing beside it; a notebook shows it where it is a cell's value."""

    html: str

    def __repr__(self) -> str:
        return '<a page; its .html goes to a file>'

    def _repr_html_(self) -> str:
        style = 'width: 100%; height: 40rem; border: 0'
        return f'<iframe style="{style}" srcdoc="{html.escape(self.html)}"></iframe>'


def attention(model: Model, text, layer: int = 0, heads: Sequence[int] | None = None) -> Page:
    """Where each head of each layer looks, for each token of a text (a str, or its ids).

    layer, heads: what is shown first; None for all heads. Raises UserError for what is out of
    range, and a text whose page would be too large.

    >>> page = attention(gpt2.load('demo'), 'Good night')
    >>> Path('night.html').write_text(page.html, encoding='utf-8')  # doctest: +SKIP
    """
    ids = one_text(model, text)
    heads = check_attention(model.hparams, len(ids), layer, heads)
    rows, columns = np.tril_indices(len(ids))  # nothing looks ahead
    weights = model.attentions(ids)[:, :, rows, columns]
    return fill(
        'attention',
        tokens=tokens_of(model.enc, ids),
        ids=ids.tolist(),
        layers=model.hparams.n_layer,
        heads=model.hparams.n_head,
        layer=layer,
        shown=heads,
        weights=base64.b64encode(np.rint(255 * weights).astype(np.uint8).tobytes()).decode(),
    )


def check_attention(hparams: HParams, n: int, layer: int, heads) -> list[int]:
    """The heads to show, once it is known that n tokens, the layer and they are possible."""
    check_range('layer', layer, 0, hparams.n_layer - 1)
    heads = [*(range(hparams.n_head) if heads is None else heads)]
    for head in heads:
        check_range('heads', head, 0, hparams.n_head - 1)

    def size(n):
        return hparams.n_layer * hparams.n_head * n * (n + 1) // 2 * 4 / 3

    if size(n) > LARGEST:
        most = next(m for m in range(n, 0, -1) if size(m) <= LARGEST)
        raise UserError(
            f'{n} tokens would make a page of {size(n) / 1e6:.0f} MB; shorten the prompt to {most}'
        )
    return heads


def predictions(model: Model, text) -> Page:
    """The most probable tokens at each place of a text (a str, or its ids), what each layer would
    predict there, and how surprising the token is that does come.

    What a layer would predict: the last norm and wte, applied to what the layer makes of the text.

    >>> page = predictions(gpt2.load('demo'), 'Good night')
    """
    ids = one_text(model, text)
    best, layers, log_probs, ranks = figures(model, ids)
    bits = (-log_probs / math.log(2)).tolist()
    return fill(
        'predictions',
        tokens=tokens_of(model.enc, [*ids, *np.unique(best.ids), *np.unique(layers.ids)]),
        ids=ids.tolist(),
        best=best.pairs(),
        layers=layers.pairs(),
        bits=[round(x, 3) for x in bits],
        ranks=ranks.tolist(),
        perplexity=2 ** (sum(bits) / len(bits)) if bits else None,
        most_bits=math.log2(model.hparams.n_vocab),
    )


class Tokens(NamedTuple):
    """Tokens and their probabilities, both [n, some]."""

    ids: np.ndarray
    probs: np.ndarray

    def pairs(self) -> list:
        """[[[id, probability], ...] of each place]."""
        return [
            [[token, float(f'{p:.4g}')] for token, p in zip(*row, strict=True)]
            for row in zip(self.ids.tolist(), self.probs.tolist(), strict=True)
        ]


def figures(model: Model, ids: np.ndarray) -> tuple[Tokens, Tokens, np.ndarray, np.ndarray]:
    """Of n ids: the best tokens after each; the embedding's and each layer's single best; of all
    ids but the first, the log-probabilities and how many tokens are more probable, [n - 1]."""
    import tensorflow as tf

    from ..asking import LESS_MEMORY
    from ..model import norm, predict
    from ..runtime import explained

    layers = []
    with explained(LESS_MEMORY):
        for state in model.hidden_states(ids):
            h = norm(tf.cast(state, model.params['wpe'].dtype), model.params['ln_f'])
            logits = predict(model.params, h)
            probs = tf.nn.softmax(logits)
            best = Tokens(*(x.numpy() for x in tf.math.top_k(probs, BEST)[::-1]))
            layers.append(Tokens(best.ids[:, 0], best.probs[:, 0]))
        log_probs = tf.nn.log_softmax(logits[:-1])
        real = tf.gather(log_probs, ids[1:], batch_dims=1)
        ranks = tf.reduce_sum(tf.cast(log_probs > real[:, None], tf.int32), axis=-1)
    firsts = Tokens(*(np.stack(x, axis=1) for x in zip(*layers, strict=True)))
    return best, firsts, real.numpy(), ranks.numpy()


def one_text(model: Model, text) -> np.ndarray:
    """The ids of a text; UserError for several."""
    from ..asking import rows_of

    rows, several = rows_of(model, text)
    if several:
        raise UserError('a page shows one text; call it for each')
    return rows[0]


def tokens_of(enc: Encoder, ids: Iterable[int]) -> dict[int, dict]:
    """{id: what is shown of it}; part: whether it is no whole characters, '\\xec\\x95'."""
    return {int(token): shown(enc.decoder[token]) for token in set(map(int, ids))}


def shown(token: bytes) -> dict:
    """b' the' -> {'text': ' the', 'bytes': '20 74 68 65', 'part': False}."""
    text = token.decode('utf-8', 'backslashreplace')
    text = ''.join(c if c.isprintable() or c in ' \n\t' else ascii(c)[1:-1] for c in text)
    part = token.decode('utf-8', 'ignore').encode() != token
    return {'text': text, 'bytes': token.hex(' '), 'part': part}


def fill(name: str, **data) -> Page:
    """The page `name`.html with its data, style and what pages share put in."""
    page, style, shared = (
        (HERE / file).read_text('utf-8') for file in (f'{name}.html', 'style.css', 'shared.js')
    )
    # No text ends the script that holds it.
    data = json.dumps(data, ensure_ascii=False, separators=(',', ':')).replace('<', '\\u003c')
    for place, content in {'STYLE': style, 'SHARED': shared, 'DATA': data}.items():
        page = page.replace(f'/* {place} */', content, 1)
    return Page(page)
