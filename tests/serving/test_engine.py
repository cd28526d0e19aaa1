"""The batch: each text as sample.generate makes it alone, whatever is made beside it."""

import numpy as np
import pytest
import tensorflow as tf

from conftest import ROOT
from gpt2 import completion, loading
from gpt2.model import model as forward
from gpt2.options import SamplingOptions
from gpt2.serving import programs
from gpt2.serving.engine import Engine
from gpt2.serving.requests import ApiError
from gpt2.serving.rows import Row
from gpt2.stops import Text

ENDLESS = {'stop': ['<|endoftext|>']}


@pytest.fixture(scope='module')
def model():
    return loading.load('demo', ROOT / 'models', 'float32')


@pytest.fixture(scope='module')
def engine(model):
    return Engine(model, rows=4, most_waiting=3)


def row(model, context, pieces=None, number=0, min_tokens=0, scored=False, **options):
    options = SamplingOptions(**options)
    text = Text(model.enc, options.stops, options.include_stop)
    deliver = (lambda *piece: pieces.append(piece)) if pieces is not None else lambda *_: None
    return Row(context, options, text, deliver, number, min_tokens, scored)


def settle(engine, most=2000):
    """Advance until nothing is left to do."""
    for _ in range(most):
        engine._admit()
        if not engine.running:
            return
        engine.advance()
    raise AssertionError('texts do not end')


def texts(engine, rows):
    engine.submit(rows)
    settle(engine)
    return [row.text.tokens for row in rows]


def sampled(model, context, number=0, **options):
    """What the samplers draw."""
    options = SamplingOptions(**options)
    [*_, [(text, _)]] = completion.stream(model, [context], options, numbers=[number])
    return text


# What is drawn by is compiled for the samplers anew for each kind: there are four.
EVERYTHING = {
    **{'top_k': 100, 'top_p': 0.8, 'min_p': 0.02, 'logit_bias': {10: 5.0, 30: -100.0}},
    **{'repetition_penalty': 1.3, 'frequency_penalty': 1.5, 'presence_penalty': 0.5},
}
OPTIONS = [
    {'temperature': 0},
    {'seed': 1},
    {'seed': 2, 'top_k': 40, 'temperature': 0.7},
    {'seed': 3, **EVERYTHING},
    {'seed': 4, 'stop': ['the', '\n\n']},
    {'seed': 5, **EVERYTHING, 'temperature': 1.5},
    {'seed': 6, 'stop': ['e'], 'include_stop': True},
]


@pytest.fixture(scope='module')
def expected(model):
    """(context, options, the samplers' text) of each of OPTIONS."""
    random, asked = np.random.default_rng(0), []
    for number, options in enumerate(OPTIONS):
        context = random.integers(0, 1000, 129 + 11 * number).tolist()
        options = {'length': 12 + 5 * number, 'logprobs': 5} | options
        asked.append((context, options, sampled(model, context, **options)))
    return asked


def test_texts_in_company_are_those_of_the_samplers(model, engine, expected):
    """More of them than there are places, of all lengths and options."""
    rows = [row(model, context, **options) for context, options, _ in expected]
    for request in (rows[:1], rows[1:5], rows[5:]):
        engine.submit(request)
    settle(engine)
    for found, (_, options, text) in zip(rows, expected, strict=True):
        assert found.text.tokens == text.tokens, options
        assert (found.text.text, found.text.ended) == (text.text, text.ended)
        np.testing.assert_allclose(found.text.log_probs, text.log_probs, atol=1e-4)
        for place, right in zip(found.text.best, text.best, strict=True):
            np.testing.assert_allclose(
                *([x for _, x in best] for best in (place, right)), atol=1e-4
            )


def test_texts_alone_are_those_of_the_samplers(model, engine, expected):
    for context, options, text in expected:
        found = row(model, context, **options)
        assert texts(engine, [found]) == [text.tokens], options


def test_samples_of_one_prompt_have_their_own_numbers(model, engine):
    context, options = [5] * 130, {'seed': 3, 'length': 10, 'logprobs': 5}
    rows = [row(model, context, number=number, **options) for number in range(3)]
    expected = [sampled(model, context, number, **options).tokens for number in range(3)]
    assert texts(engine, rows) == expected
    assert len(set(map(tuple, expected))) == 3


def test_a_context_is_filled_to_its_last_token(model, engine):
    n_ctx = model.hparams.n_ctx
    context = np.random.default_rng(5).integers(0, 1000, n_ctx).tolist()
    for part in (context[:-20], context[:1], context):
        options = {'length': n_ctx + 1 - len(part), 'temperature': 0}
        [found] = texts(engine, [row(model, part, **options)])
        assert found == sampled(model, part, **options).tokens


def test_texts_slide_as_the_samplers(model, engine):
    context = np.random.default_rng(6).integers(0, 1000, 200).tolist()
    options = {'length': 300, 'temperature': 0}
    other = row(model, context[:50], length=150, seed=2)
    found = texts(engine, [row(model, context, **options), other])[0]
    assert found == sampled(model, context, **options).tokens


def test_pieces_come_as_they_are_drawn(model, engine):
    pieces = []
    found = row(model, model.enc.encode('JULIET:'), pieces, length=9, seed=1)
    texts(engine, [found])
    assert len(pieces) == 9
    assert ''.join(new for _, new, *_ in pieces) == found.text.text
    assert [count for _, _, count, _ in pieces] == list(range(1, 10))
    assert [ended for *_, ended in pieces] == [None] * 8 + ['length']


def test_the_log_probabilities_of_a_prompt(model, engine):
    context = np.random.default_rng(7).integers(0, 1000, 180).tolist()
    pieces = []
    asked = row(model, context, pieces, scored=True, temperature=0, length=None, logprobs=3)
    assert texts(engine, [asked]) == [[]]
    [(_, new, count, ended)] = pieces
    assert (new, count, ended) == ('', 0, 'length')
    logits = forward(model.params, model.hparams, [context])['logits'][0, :-1]
    expected = tf.nn.log_softmax(logits).numpy()
    assert asked.prompt_log_probs[0] is None and asked.prompt_best[0] is None
    right = expected[np.arange(179), context[1:]]
    np.testing.assert_allclose(asked.prompt_log_probs[1:], right, atol=1e-4)
    for best, row_ in zip(asked.prompt_best[1:], expected, strict=True):
        np.testing.assert_allclose([x for _, x in best], np.sort(row_)[::-1][:5], atol=1e-4)


def test_min_tokens_hold_back_every_end(model, engine):
    end = model.enc.end_of_text
    options = {'logit_bias': {end: 100.0}, 'length': 20, 'seed': 1, **ENDLESS}
    plain, held = row(model, [5], **options), row(model, [5], min_tokens=7, **options)
    assert texts(engine, [plain, held]) == [[end], held.text.tokens]
    assert len(held.text.tokens) == 7 or held.text.tokens[7:] == [end]
    assert end not in held.text.tokens[:7]
    stopped = row(model, [5], length=20, seed=1, stop=['e', 'o', ' '], min_tokens=12)
    assert len(texts(engine, [stopped])[0]) >= 12


def test_who_leaves_frees_a_place_at_once(model, engine):
    rows = [row(model, [5], length=200, seed=i) for i in range(4)]
    waiting = [row(model, [6], length=3, seed=1)]
    engine.submit(rows)
    engine._admit()
    engine.submit(waiting)
    for _ in range(6):
        engine._admit()
        engine.advance()
    assert not waiting[0].text.tokens
    engine.leave(rows[:1])
    engine._admit()
    assert engine.queued == 0
    engine.leave(rows[1:])
    settle(engine, 10)
    assert waiting[0].text.ended == 'length'


@pytest.mark.parametrize('pieces', [1, 3])  # one: while its prompt is yet read
def test_the_last_one_takes_a_place_that_is_free(model, engine, pieces):
    long = row(model, [5] * 200, length=30, seed=3, top_k=5)
    others = [row(model, [6], length=40, seed=i) for i in range(3)]
    engine.submit([*others, long])
    for _ in range(pieces):
        engine._admit()
        engine.advance()
    assert long.slot == 3 and engine._is_read(long) == (pieces > 1)
    engine.leave(others)
    settle(engine)
    assert long.slot == 0
    assert long.text.tokens == sampled(model, [5] * 200, length=30, seed=3, top_k=5).tokens


def test_a_small_request_does_not_wait_for_all_of_a_large_one(model, engine):
    many = [row(model, [5], length=8, seed=i) for i in range(20)]
    few = [row(model, [6], length=8, seed=1)]
    engine.submit(many)
    engine.submit(few)
    while not few[0].text.ended:
        engine._admit()
        engine.advance()
    assert sum(bool(row.text.ended) for row in many) <= 8
    engine.leave(many)
    settle(engine, 1)


def test_too_many_requests_are_refused(model, engine):
    """Three may wait once all four places are taken."""
    requests = [[row(model, [5], length=2, seed=1)] for _ in range(8)]
    for request in requests[:4]:
        engine.submit(request)
    engine._admit()
    for request in requests[4:7]:
        engine.submit(request)
    with pytest.raises(ApiError, match='3 requests wait already'):
        engine.submit(requests[7])
    settle(engine)
    assert all(request[0].text.ended for request in requests[:7])


def test_a_failure_ends_its_texts_alone(model, engine, monkeypatch, capsys):
    pieces = []
    lost = row(model, [5], pieces, length=5, seed=1)
    engine.submit([lost])

    def draw(*_):
        engine.close()
        raise ZeroDivisionError

    with monkeypatch.context() as patched:
        patched.setattr(engine, '_run_step', draw)
        engine.run()
    engine.closed = False
    assert isinstance(pieces[-1][1], ZeroDivisionError) and not engine.running
    assert 'ZeroDivisionError' in capsys.readouterr().err
    assert texts(engine, [row(model, [5], length=5, temperature=0)])


def test_all_is_compiled_beforehand(model, engine):
    engine.compile()
    counts = [programs.score, programs.move]
    counts += [function for some in engine.programs.values() for function in some]
    before = [function.experimental_get_tracing_count() for function in counts]
    for context in ([5], [5] * 40, [5] * 200):
        rows = [row(model, context, length=20, seed=1, top_k=5, logprobs=2) for _ in range(2)]
        texts(engine, rows)
        texts(engine, [row(model, context, length=2, top_p=0.5, scored=True)])
    assert [function.experimental_get_tracing_count() for function in counts] == before


def test_a_call_that_begins_in_one_segment_and_ends_in_the_next(model, monkeypatch):
    """Of two tokens, from an even and from an odd number of them on."""
    monkeypatch.setattr(programs, 'SHORT', 16)
    engine = Engine(model, rows=1)
    for n in (12, 13):
        context = list(range(5, 5 + n))
        asked = row(model, context, length=12, seed=1)
        texts(engine, [asked])
        expected = sampled(model, context, length=12, seed=1)
        assert asked.text.tokens == expected.tokens
        np.testing.assert_allclose(asked.text.log_probs, expected.log_probs, atol=1e-3)


def test_segments():
    assert programs.sizes(loading.HParams(n_ctx=1024)) == [256, 512, 1024]
    assert programs.sizes(loading.HParams(n_ctx=1000)) == [256, 512, 1000]
    assert programs.sizes(loading.HParams(n_ctx=64)) == [64]
    assert programs.bytes_of(loading.HParams(n_ctx=1024), 8) == 603_979_776
