"""LAMBADA as OpenAI prepared it: the last word of 5,153 passages, predicted from those before."""

import math
from pathlib import Path
from typing import TextIO

import numpy as np

from ..data.read_text import read_pieces
from ..encoder import Encoder
from ..errors import UserError
from ..fetch import File, fetch, find_base
from ..paths import expanded

BASE_URL = 'https://openaipublic.blob.core.windows.net/gpt-2/data'
NAME, SIZE = 'lambada_test.jsonl', 1819752
SHA256 = '4aa8d02cd17c719165fc8a7887fddd641f43fcafa4b1c806ca8abc31fabdb226'
QUOTES = str.maketrans('“”', '""')


def find_lambada(
    data_dir: str | Path, base_url: str | None, again: str, out: TextIO | None = None
) -> Path:
    """The set's file in `data_dir`, fetched and verified where it is not there.

    It comes from `base_url`, else from $GPT2_DATA_URL, else from BASE_URL. Shows on the
    terminal `out`, None for stderr, how far it is. Raises UserError, with the command `again`,
    for what the network and the disk refuse.
    """
    base = find_base(base_url, 'GPT2_DATA_URL', BASE_URL)
    path = Path(expanded(data_dir), NAME)
    fetch([File(f'{base}/{NAME}', path, SIZE, 'sha256', SHA256)], path.parent, again, out)
    return path


def read_examples(path: Path, enc: Encoder, limit: int | None = None) -> list[tuple[list, list]]:
    """(ids of what stands before, ids of the last word with its blank) for each passage.

    As in OpenAI's code, a passage begins with a line's end and has straight quotes.
    """
    examples = []
    for (_, line), text in read_pieces([path], column='text'):
        before, _, word = ('\n' + text.translate(QUOTES).strip()).rpartition(' ')
        if not before:
            raise UserError(f'{path} line {line} has one word only; remove {path} to fetch it anew')
        examples.append((enc.encode(before), enc.encode(f' {word}')))
    return examples[:limit]


def measure(scorer, examples) -> dict:
    """How well a score.Scorer predicts the last words: {name: figure}.

    An accuracy is the share whose tokens are all the most probable ones. OpenAI's counts the last
    token of the word alone; most others count the whole word.
    """
    scores = scorer.score(examples, unit=' passages')
    best = np.array([(best[-1], best.all()) for _, best in scores])
    loss = -np.array([(logs[-1], logs.sum()) for logs, _ in scores], np.float64)
    token, word = best.mean(axis=0).tolist()
    token_loss, word_loss = loss.mean(axis=0).tolist()
    return {
        'passages': len(examples),
        'last_token_accuracy': token,
        'last_word_accuracy': word,
        'last_token_perplexity': math.exp(min(token_loss, 700)),
        'last_word_perplexity': math.exp(min(word_loss, 700)),
    }
