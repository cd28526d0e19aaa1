"""Model's methods: every form of a text gives the same, and what is none is a sentence."""

import doctest
import importlib
import inspect
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

import gpt2
from conftest import DATA, load_tiny
from gpt2 import asking
from gpt2.errors import UserError
from gpt2.model import model as forward
from gpt2.model import norm, predict

TEXT = 'O night'
GREEDY = {'length': 6, 'temperature': 0}


@pytest.fixture(scope='module')
def demo():
    return gpt2.load('demo')


METHODS = {
    'generate': lambda model, text: model.generate(text, **GREEDY),
    'stream': lambda model, text: ''.join(model.stream(text, **GREEDY)),
    'logits': lambda model, text: model.logits(text),
    'next_tokens': lambda model, text: model.next_tokens(text, k=3),
    'log_probs': lambda model, text: model.log_probs(text),
    'hidden_states': lambda model, text: model.hidden_states(text),
    'attentions': lambda model, text: model.attentions(text),
}
methods = pytest.mark.parametrize('method', METHODS.values(), ids=METHODS)
INTEGERS = ['int16', 'int32', 'int64', 'uint16', 'uint32', 'uint64']


def same(one, other):
    """Of texts, arrays, and lists and tuples of them."""
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, str):
        return one == other
    return np.shape(one) == np.shape(other) and np.allclose(one, other, atol=1e-5)


def forms(ids):
    """Each form of one text that is given as ids."""
    yield from (ids, tuple(ids), np.array(ids, object), tf.Variable(ids), list(np.array(ids)))
    yield from ([tf.constant(token) for token in ids], np.array([ids, ids])[1])
    for kind in INTEGERS:
        yield from (np.array(ids, kind), tf.constant(ids, kind))


@methods
def test_every_form_of_a_text(demo, method):
    expected = method(demo, TEXT)
    for form in forms(demo.enc.encode(TEXT)):
        assert same(method(demo, form), expected), repr(form)
    for form in (np.array(TEXT), np.str_(TEXT)):
        assert same(method(demo, form), expected), repr(form)


@methods
def test_several_texts(demo, method):
    if method is METHODS['stream']:
        with pytest.raises(UserError, match='^stream takes one text; call it for each, or gen'):
            demo.stream([TEXT])
        return
    other = 'ROMEO:\nGood'
    ids, expected = demo.enc.encode(TEXT), [method(demo, TEXT), method(demo, other)]
    for several in (
        [TEXT, other],
        (TEXT, demo.enc.encode(other)),
        [np.array(ids), tf.constant(demo.enc.encode(other))],
        np.array([TEXT, other]),
        np.array([TEXT, other], object),
    ):
        assert same(method(demo, several), expected), repr(several)
    for rows in ([ids, ids], np.array([ids, ids], 'uint16'), tf.constant([ids, ids])):
        assert same(method(demo, rows), expected[:1] * 2), repr(rows)
    assert same(method(demo, [TEXT]), expected[:1])


NO_TEXTS = [
    *(None, 5, 5.5, True, b'night', bytearray(b'night'), {}, {1: 2}, {1, 2}, Path('a'), object()),
    *((i for i in [1, 2]), np.array(5), tf.constant(5), np.array(None), tf.constant('night')),
    *('', [], (), np.array([]), np.zeros([0, 3], int), [''], ['O', ''], [[]], [[1], []]),
    *([None], [[None]], [1.5], [1, 'O'], ['O', 1], [True], [b'O'], [['O']], np.array([1.0, 2.0])),
    *(tf.constant([1.0]), np.zeros([1, 1, 1], int), [[[1]]], [-1], [1024], [2**70], [1j]),
    *(np.array([1, 2**40]), ['O', None], ['O', [1.5]], 'a\ud800b', ['O', 'a\ud800b']),
    *([7] * 257, ['O', [7] * 257], 'x' * 5000, [np.nan], np.array(['2020'], 'datetime64')),
]


@methods
def test_what_is_no_text_is_a_sentence(demo, method):
    for text in NO_TEXTS:
        with pytest.raises(UserError) as error:
            method(demo, text)
        assert '\n' not in str(error.value) and len(str(error.value)) < 200, repr(text)[:60]


@pytest.mark.parametrize(
    'options, sentence',
    [
        ({'lenght': 5}, 'there is no option lenght; did you mean length\\?'),
        ({'nsamples': 2}, 'there is no option nsamples, but length, temperature'),
        ({'length': 0}, 'length is from 1'),
        ({'temperature': 'hot'}, 'temperature is a number'),
        ({'logit_bias': {5000: 1}}, 'logit_bias names the id'),
        ({'num_beams': 2, 'top_k': 4}, 'draws nothing; leave out'),
    ],
)
def test_options_that_are_none(demo, options, sentence):
    for method in (demo.generate, demo.stream):  # at once, not when the first piece is asked for
        with pytest.raises(UserError, match=sentence):
            method(TEXT, **options)


def test_k_is_checked(demo):
    for k in (0, 1025, 1.5, None, '3'):
        with pytest.raises(UserError, match='k is '):
            demo.next_tokens(TEXT, k)


def test_half_of_the_context_where_no_length_is_given(demo):
    text = demo.generate(TEXT, seed=1)
    assert text == demo.generate(TEXT, seed=1, length=128)
    assert ''.join(demo.stream(TEXT, seed=1)) == text


def test_stops_and_beams(demo):
    whole = demo.generate(TEXT, length=40, seed=1)
    stop = whole[20:23]
    text = demo.generate(TEXT, length=40, seed=1, stop=stop)
    assert text == whole[: whole.index(stop)] != ''
    assert ''.join(demo.stream(TEXT, length=40, seed=1, stop=stop)) == text
    best = demo.generate(['ROMEO:\n', 'O'], length=8, num_beams=3)
    assert [demo.generate(text, length=8, num_beams=3) for text in ('ROMEO:\n', 'O')] == best
    with pytest.raises(UserError, match='call generate for num_beams'):
        demo.stream(TEXT, num_beams=2)


def test_figures_are_those_of_the_forward_pass(demo):
    ids = demo.enc.encode(TEXT)
    expected = forward(demo.params, demo.hparams, [ids])['logits'][0].numpy()
    logits = demo.logits(TEXT)
    assert logits.dtype == np.float32
    np.testing.assert_allclose(logits, expected, atol=1e-4)
    logs = expected - np.log(np.exp(expected).sum(-1, keepdims=True))
    tokens, figures = zip(*demo.log_probs(TEXT), strict=True)
    assert ''.join(tokens) == demo.enc.decode(ids[1:])
    np.testing.assert_allclose(figures, logs[range(len(ids) - 1), ids[1:]], atol=1e-4)
    assert demo.log_probs([7]) == []
    tokens, figures = zip(*demo.next_tokens(TEXT, k=1024), strict=True)
    np.testing.assert_allclose(figures, np.sort(np.exp(logs[-1]))[::-1], atol=1e-5)
    assert tokens[0] == demo.enc.decode([int(expected[-1].argmax())])


def test_the_stream_between_the_blocks(demo):
    ids = demo.enc.encode(TEXT)
    states = demo.hidden_states(TEXT)
    assert states.shape == (5, len(ids), demo.hparams.n_embd) and states.dtype == np.float32
    wte, wpe = demo.params['wte'].numpy(), demo.params['wpe'].numpy()
    np.testing.assert_allclose(states[0], wte[ids] + wpe[: len(ids)], atol=1e-6)
    assert len({state.tobytes() for state in states}) == 5
    last = norm(states[-1], demo.params['ln_f'])
    np.testing.assert_allclose(predict(demo.params, last), demo.logits(TEXT), atol=1e-4)


def test_attentions_are_those_of_transformers():
    """benchmarks/attentions.py --keep has written them."""
    stored = np.load(DATA / 'attentions.npz')
    model = gpt2.Model(*load_tiny(), None)
    found = model.attentions(stored['ids'])
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, stored['attentions'], atol=1e-5)


def test_attentions_in_slices(demo, monkeypatch):
    ids = [*range(100)]
    whole = demo.attentions(ids)
    assert whole.shape == (demo.hparams.n_layer, demo.hparams.n_head, 100, 100)
    np.testing.assert_allclose(whole.sum(-1), 1, atol=1e-5)
    assert not whole[:, :, ~np.tri(100, dtype=bool)].any()
    monkeypatch.setattr('gpt2.fast.QUERIES', 32)
    np.testing.assert_allclose(demo.attentions(ids), whole, atol=1e-6)


@pytest.mark.parametrize('precision, atol', [('float32', 1e-3), ('bfloat16', 0.5)])
def test_parameters_as_sampling_has_them(demo, precision, atol):
    laid_out = gpt2.load('demo', precision=precision)
    np.testing.assert_allclose(laid_out.logits(TEXT), demo.logits(TEXT), atol=atol)
    states = laid_out.hidden_states(TEXT)
    np.testing.assert_allclose(states, demo.hidden_states(TEXT), atol=atol)
    assert states.dtype == laid_out.logits(TEXT).dtype == np.float32
    for method in METHODS.values():
        method(laid_out, TEXT)


def test_too_little_memory_is_a_sentence(demo, monkeypatch):
    def too_large(*_, **__):
        raise tf.errors.ResourceExhaustedError(None, None, 'OOM')

    monkeypatch.setattr(asking, 'hidden', too_large)
    monkeypatch.setattr('gpt2.sample.read', too_large)
    for method in METHODS.values():
        with pytest.raises(UserError, match='the memory is too small for this; ask for fewer'):
            method(demo, TEXT)


DOCUMENTED = [
    *(gpt2.load, gpt2.find, gpt2.encoder.get_encoder, gpt2.SamplingOptions, gpt2.Model),
    *(getattr(gpt2.Model, name) for name in METHODS),
]


@pytest.mark.parametrize('thing', DOCUMENTED, ids=lambda thing: thing.__qualname__)
def test_each_has_an_example_that_is_so(thing):
    assert '>>> ' in inspect.getdoc(thing)
    names = vars(importlib.import_module(thing.__module__)) | {'gpt2': gpt2}
    runner = doctest.DocTestRunner()
    for found in doctest.DocTestFinder(recurse=False).find(thing, globs=names):
        said = []
        runner.run(found, out=said.append)
        assert said == [], ''.join(said)
    assert runner.tries and not runner.failures
