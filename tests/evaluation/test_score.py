"""Log-likelihoods of continuations, beside those that model()'s logits give."""

import numpy as np
import pytest
import tensorflow as tf

from conftest import DATA
from gpt2.checkpoint import load_params
from gpt2.errors import UserError
from gpt2.evaluation.score import AT_ONCE, Scorer, likelihoods
from gpt2.model import model
from gpt2.model_folder import load_hparams
from gpt2.weights import for_sampling

HPARAMS = load_hparams(DATA / 'tiny-random')


@pytest.fixture(scope='module')
def params():
    return load_params(DATA / 'tiny-random', HPARAMS)


def ids(random, low, high):
    return random.integers(0, HPARAMS.n_vocab, random.integers(low, high)).tolist()


def reference(params, context, continuation):
    tokens = [*context, *continuation]
    logits = model(params, HPARAMS, [tokens[:-1]])['logits'][0, -len(continuation) :]
    logs = tf.gather(tf.nn.log_softmax(logits), continuation, batch_dims=1)
    return logs.numpy(), logits.numpy().argmax(-1) == continuation


def check(params, requests, scores):
    for (context, continuation), (logs, best) in zip(requests, scores, strict=True):
        expected, expected_best = reference(
            params, context[-65 + len(continuation) :], continuation
        )
        np.testing.assert_allclose(logs, expected, rtol=0, atol=1e-4)
        np.testing.assert_array_equal(best, expected_best)


def test_requests_of_all_lengths_in_their_own_order(params):
    random = np.random.default_rng(1)
    requests = []
    for _ in range(12):
        context = ids(random, 1, 40)
        choices = random.integers(1, 6)  # most contexts are shared
        requests += [(context, ids(random, 1, 25)) for _ in range(choices)]
    random.shuffle(requests)
    requests += [(ids(random, 63, 64), [7, 8]), (ids(random, 1, 2), ids(random, 64, 65))]
    scorer = Scorer(params, HPARAMS, batch_size=4)
    check(params, requests, scorer.score(requests))
    compiled = likelihoods.experimental_get_tracing_count()
    check(params, requests, scorer.score(requests[::-1])[::-1])
    assert likelihoods.experimental_get_tracing_count() == compiled
    for function in (scorer._present, scorer._states, scorer._states_after):
        assert function.experimental_get_tracing_count() == 1


def test_the_most_probable_tokens_are_found(params):
    context = [3, 1, 4]
    for _ in range(3):
        context.append(int(model(params, HPARAMS, [context])['logits'][0, -1].numpy().argmax()))
    [(_, best), (_, other)] = Scorer(params, HPARAMS).score(
        [(context[:3], context[3:]), (context[:3], [*context[3:5], (context[5] + 1) % 512])]
    )
    assert best.tolist() == [True] * 3
    assert other.tolist() == [True, True, False]


def test_a_shared_context_is_computed_once(params, monkeypatch):
    random = np.random.default_rng(2)
    contexts = [ids(random, 20, 30) for _ in range(3)]
    requests = [(context, ids(random, 1, 5)) for context in contexts for _ in range(5)]
    scorer = Scorer(params, HPARAMS, batch_size=4)
    seen, present = [], scorer._present
    monkeypatch.setattr(scorer, '_present', lambda X: seen.append(len(X)) or present(X))
    check(params, requests, scorer.score(requests))
    assert sum(seen) == 3


def test_long_rows_have_few_graphs(params, monkeypatch):
    monkeypatch.setattr('gpt2.evaluation.score.LONG', 24)
    monkeypatch.setattr('gpt2.evaluation.score.STEP', 24)
    random = np.random.default_rng(6)
    requests = [(ids(random, 10, 40), ids(random, 1, 25)) for _ in range(24)]
    scorer = Scorer(params, HPARAMS, batch_size=2)
    check(params, requests, scorer.score(requests))
    assert 1 <= scorer._long.experimental_get_tracing_count() <= 4  # 48 or 72, by 1 or 2


def test_parameters_in_bfloat16(params):
    random = np.random.default_rng(5)
    requests = [([5, 6, 7], ids(random, 4, 9)) for _ in range(3)] + [([9], ids(random, 4, 9))]
    rounded = load_params(DATA / 'tiny-random', HPARAMS, for_sampling('bfloat16'))
    scores = Scorer(rounded, HPARAMS).score(requests)
    for (context, continuation), (logs, _) in zip(requests, scores, strict=True):
        np.testing.assert_allclose(logs, reference(params, context, continuation)[0], atol=0.1)


def test_more_positions_than_have_logits_at_one_time(params):
    random = np.random.default_rng(3)
    requests = [(ids(random, 1, 2), ids(random, 60, 61)) for _ in range(AT_ONCE // 60 + 2)]
    check(params, requests, Scorer(params, HPARAMS).score(requests))


def test_long_contexts_lose_their_beginning_and_that_is_said(params, capsys):
    random = np.random.default_rng(4)
    requests = [(ids(random, n, n + 1), ids(random, 5, 6)) for n in (59, 60, 61, 90)]
    scores = Scorer(params, HPARAMS).score(requests)
    check(params, requests, scores)
    said = capsys.readouterr().err
    assert said == (
        '2 of 4 contexts do not fit into the n_ctx of 64 with what follows: '
        'their beginnings are left out\n'
    )


@pytest.mark.parametrize('request_', [([], [1]), ([1], []), ([1], [1] * 65)])
def test_what_cannot_be_scored(params, request_):
    with pytest.raises(UserError, match='cannot be scored; give from 1 to the n_ctx of 64'):
        Scorer(params, HPARAMS).score([request_])


def test_ids_outside_the_vocabulary(params):
    for request_ in ([1], [512]), ([-1], [1]):
        with pytest.raises(UserError, match='a token id is outside 0 to 511'):
            Scorer(params, HPARAMS).score([request_])


def test_a_memory_that_is_too_small(params, monkeypatch):
    def exhausted(*_):
        raise tf.errors.ResourceExhaustedError(None, None, 'no memory')

    scorer = Scorer(params, HPARAMS, batch_size=3)
    monkeypatch.setattr(scorer, '_states', exhausted)
    with pytest.raises(UserError, match='too small for this; set a lower --batch_size than 3'):
        scorer.score([([1], [2])])
