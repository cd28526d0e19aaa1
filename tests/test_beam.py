"""Beam search beside what Transformers finds: benchmarks/decoding.py --keep."""

import json

import numpy as np
import pytest
import tensorflow as tf

from conftest import DATA, load_tiny
from gpt2.beam import search
from gpt2.errors import UserError
from gpt2.model import model
from gpt2.options import SamplingOptions

CASES = json.loads((DATA / 'beams.json').read_text())


@pytest.fixture(scope='module')
def tiny():
    return load_tiny()


def name(case):
    return f'{case["options"]["num_beams"]}-{case["options"]["length"]}-{case["end"]}'


@pytest.mark.parametrize('case', CASES, ids=name)
def test_texts_and_scores_of_transformers(tiny, case):
    found = search(*tiny, case['prompt'], SamplingOptions(**case['options']), case['end'])
    assert [one.tokens.tolist() for one in found] == [text for text, _ in case['found']]
    scores = [score for _, score in case['found']]
    np.testing.assert_allclose([one.score for one in found], scores, rtol=1e-5, atol=1e-4)
    for one in found:
        assert one.ended == (one.tokens[-1] == case['end'])
        assert one.ended or len(one.tokens) == case['options']['length']


def test_the_cases_are_of_all_kinds():
    ended = [one[0][-1] == case['end'] for case in CASES for one in case['found']]
    assert 10 < sum(ended) < len(ended) - 10
    assert {case['options']['early_stopping'] for case in CASES} == {False, True, 'never'}
    assert {case['options']['num_beams'] for case in CASES} == {2, 4, 8}


def test_log_probabilities_are_those_of_the_model(tiny):
    params, hparams = tiny
    options = SamplingOptions(num_beams=3, length=20, repetition_penalty=1.5, length_penalty=0)
    for one in search(params, hparams, [1, 2, 3], options, None):
        logs = tf.nn.log_softmax(model(params, hparams, [[1, 2, 3, *one.tokens]])['logits'])
        expected = logs.numpy()[0, np.arange(2, 22), one.tokens]
        np.testing.assert_allclose(one.log_probs, expected, atol=1e-4)


def test_one_beam_of_many_is_no_worse_than_greedy(tiny):
    params, hparams = tiny
    options = SamplingOptions(length=30, length_penalty=0, num_beams=8)
    [best, *_] = search(params, hparams, [9], options, None)
    context = [9]
    for _ in range(30):
        context.append(int(tf.argmax(model(params, hparams, [context])['logits'][0, -1])))
    logs = tf.nn.log_softmax(model(params, hparams, [context])['logits']).numpy()
    greedy = logs[0, np.arange(30), context[1:]].sum()
    assert best.score >= greedy - 1e-4 and best.score == pytest.approx(best.log_probs.sum())


def test_what_does_not_fit(tiny):
    with pytest.raises(
        UserError, match='no room for 62 more, and beams do not go beyond it; .* 61'
    ):
        search(*tiny, [1, 2, 3, 4], SamplingOptions(num_beams=2, length=62), None)
    with pytest.raises(UserError, match='num_beams 2 draws nothing; leave out --top_k'):
        SamplingOptions(num_beams=2, top_k=4)


def test_each_length_penalty_finds_texts(tiny):
    for penalty in (-4, 0, 4):
        options = SamplingOptions(num_beams=3, length=40, length_penalty=penalty)
        found = search(*tiny, [1, 2], options, 7)
        assert len(found) == 3 and [one.score for one in found] == sorted(
            (one.score for one in found), reverse=True
        )


def test_a_length_left_out_is_what_fits(tiny):
    options = SamplingOptions(num_beams=2)
    for n, length in ((1, 32), (50, 15), (64, 1)):
        assert len(search(*tiny, [1] * n, options, None)[0].tokens) == length
