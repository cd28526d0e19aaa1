"""LAMBADA's passages and figures, beside those counted by hand."""

import json
import math

import numpy as np
import pytest

from conftest import ROOT
from gpt2.encoder import get_encoder
from gpt2.errors import UserError
from gpt2.evaluation.lambada import measure, read_examples


@pytest.fixture
def enc():
    return get_encoder('demo', ROOT / 'models')


def write(path, *texts):
    path.write_text('\n'.join(json.dumps({'text': text}) for text in texts), encoding='utf-8')
    return path


def test_the_last_word_with_its_blank_after_what_is_before(tmp_path, enc):
    path = write(tmp_path / 'set.jsonl', ' “Well,” he said,\n\n"well, well ', 'a b', 'never read')
    examples = read_examples(path, enc, limit=2)
    texts = [tuple(map(enc.decode, example)) for example in examples]
    assert texts == [('\n"Well," he said,\n\n"well,', ' well'), ('\na', ' b')]
    assert all(before + word == enc.encode(enc.decode(before + word)) for before, word in examples)


def test_a_passage_of_one_word(tmp_path, enc):
    path = write(tmp_path / 'set.jsonl', 'two words', 'one')
    with pytest.raises(UserError, match='set.jsonl line 2 has one word only; remove'):
        read_examples(path, enc)


def test_figures():
    class Scorer:
        def score(self, examples, unit):
            return [
                (np.log([0.5, 0.25]), np.array([False, True])),
                (np.log([0.125]), np.array([True])),
                (np.log([0.5, 0.5, 0.125]), np.array([True, True, False])),
            ]

    figures = measure(Scorer(), [None] * 3)
    assert figures['passages'] == 3
    assert figures['last_token_accuracy'] == pytest.approx(2 / 3)
    assert figures['last_word_accuracy'] == pytest.approx(1 / 3)
    assert math.log2(figures['last_token_perplexity']) == pytest.approx((2 + 3 + 3) / 3)
    assert math.log2(figures['last_word_perplexity']) == pytest.approx((3 + 3 + 5) / 3)
