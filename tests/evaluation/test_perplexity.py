"""Perplexity by a sliding window, beside the plain loop and Transformers' documented recipe."""

import importlib.util
import math

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
import tensorflow as tf

from conftest import DATA, ROOT
from gpt2.checkpoint import load_params
from gpt2.data.encode_dataset import LETTERS_PER_PIECE, encode_dataset
from gpt2.encoder import get_encoder
from gpt2.errors import UserError
from gpt2.evaluation.perplexity import count, measure, read_documents, windows
from gpt2.evaluation.score import Scorer
from gpt2.model import model
from gpt2.model_folder import load_hparams

MODELS = {'demo': ROOT / 'models' / 'demo', 'tiny': DATA / 'tiny-random'}


@pytest.fixture(scope='module')
def enc():
    return get_encoder('demo', ROOT / 'models')


@pytest.fixture(scope='module', params=MODELS)
def loaded(request):
    hparams = load_hparams(MODELS[request.param])
    return load_params(MODELS[request.param], hparams), hparams


def test_windows():
    assert list(windows(10, 4, 2)) == [(0, 1, 4), (2, 4, 6), (4, 6, 8), (6, 8, 10)]
    assert list(windows(10, 4, 4)) == [(0, 1, 4), (4, 5, 8), (8, 9, 10)]
    assert list(windows(9, 4, 4)) == [(0, 1, 4), (4, 5, 8)]  # one token alone predicts nothing
    assert list(windows(3, 4, 1)) == [(0, 1, 3)]
    assert list(windows(1, 4, 2)) == list(windows(0, 4, 2)) == []


@hypothesis.given(st.integers(0, 200), st.integers(2, 50), st.data())
def test_each_token_but_the_first_is_predicted_once(n, size, data):
    stride = data.draw(st.integers(1, size - 1))
    predicted = []
    for begin, first, end in windows(n, size, stride):
        assert begin < first and end - begin <= size
        assert first - begin >= min(first, size - stride)
        predicted += range(first, end)
    assert predicted == list(range(1, n))


def recipe(mean_loss, ids, size, stride, shifted=1):
    """Transformers' documented loop; mean_loss(ids, labels) is that of the labels but -100.

    It weighs each window by its labels less one, though only a window without context loses
    one; with `shifted` 0 the weights are the labels that a window's loss is the mean of.
    """
    total = tokens = before = 0
    for begin in range(0, len(ids), stride):
        end = min(begin + size, len(ids))
        labels = np.array(ids[begin:end])
        labels[: -(end - before)] = -100
        weight = end - before - (shifted or begin == before)
        total += mean_loss(ids[begin:end], labels) * weight
        tokens, before = tokens + weight, end
        if end == len(ids):
            return math.exp(total / tokens)


def ours(loaded, ids, stride, enc, **options):
    figures = measure(Scorer(*loaded, **options), [ids], enc, stride)
    firsts = 1 if stride < loaded[1].n_ctx else math.ceil(len(ids) / stride)
    assert figures['tokens'] == len(ids) - firsts
    assert figures['loss'] == pytest.approx(math.log(figures['token_perplexity']))
    return figures['token_perplexity']


@pytest.mark.parametrize('share', [1 / 4, 1 / 2, 1])
def test_the_plain_loop(loaded, enc, share):
    params, hparams = loaded
    stride = int(share * hparams.n_ctx)
    ids = np.random.default_rng(1).integers(0, hparams.n_vocab, 5 * hparams.n_ctx + 7)

    def mean_loss(ids, labels):
        logits = model(params, hparams, [ids])['logits'][0]
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(
            np.maximum(labels[1:], 0), logits[:-1]
        )
        return losses.numpy()[labels[1:] >= 0].mean()

    expected = recipe(mean_loss, ids, hparams.n_ctx, stride, shifted=0)
    assert ours(loaded, ids, stride, enc, batch_size=3) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize('share', [1 / 2, 1])
def test_transformers_documented_recipe(loaded, enc, share, monkeypatch):
    torch = pytest.importorskip('torch')
    pytest.importorskip('transformers')
    if importlib.util.find_spec('triton'):
        pytest.skip("triton's LLVM and TensorFlow's do not go together in one process")
    monkeypatch.syspath_prepend(ROOT / 'benchmarks')
    from peers import transformers_model

    params, hparams = loaded
    stride = int(share * hparams.n_ctx)
    ids = np.random.default_rng(1).integers(0, hparams.n_vocab, 16 * hparams.n_ctx)
    peer = transformers_model(params, hparams)

    def mean_loss(ids, labels):
        with torch.no_grad():
            tensors = (torch.from_numpy(x[None].astype(np.int64)) for x in (ids, labels))
            return float(peer(next(tensors), labels=next(tensors)).loss)

    perplexity = ours(loaded, ids, stride, enc)
    exact = recipe(mean_loss, ids, hparams.n_ctx, stride, shifted=0)
    assert perplexity == pytest.approx(exact, rel=1e-5)
    # As it is documented: the windows' weights differ, the more the shorter the text is.
    assert perplexity == pytest.approx(recipe(mean_loss, ids, hparams.n_ctx, stride), rel=1e-3)


def test_documents_are_files_rows_and_chunks(tmp_path, enc):
    (tmp_path / 'a.txt').write_text('To be, or not')
    (tmp_path / 'b.jsonl').write_text('{"text": "to be"}\n{"text": "that is"}\n')
    chunks = [np.array(enc.encode('the question'), np.uint16), np.array([5, 6, 7], np.uint16)]
    np.savez(tmp_path / 'c.npz', *chunks)
    documents = read_documents(enc, [str(tmp_path)])
    texts = sorted(enc.decode(ids.tolist()) for ids in documents)
    expected = ['To be, or not', 'to be', 'that is', 'the question', enc.decode([5, 6, 7])]
    assert texts == sorted(expected)


def test_a_long_text_is_one_document(tmp_path, enc):
    text = 'naïve: 漢字 and so on\n' * (2 * LETTERS_PER_PIECE // 10)
    (tmp_path / 'long.txt').write_text(text, encoding='utf-8')
    [ids] = read_documents(enc, [str(tmp_path / 'long.txt')])
    assert ids.tolist() == enc.encode(text)


def test_words_and_bytes(enc):
    end = [enc.end_of_text]
    ids = [enc.encode('To be,\n or naïve') + end + enc.encode('not') + end, enc.encode('  ')]
    assert count([np.array(x) for x in ids], enc) == (5, len('To be,\n or naïvenot  '.encode()))


def test_no_words_are_no_figure(loaded, enc):
    params, hparams = loaded
    if hparams.n_vocab > enc.end_of_text:
        figures = measure(Scorer(params, hparams), [np.array([enc.end_of_text] * 3)], enc, 4)
        assert (figures['word_perplexity'], figures['bits_per_byte']) == (None, None)
        assert figures['tokens'] == 2


def test_a_text_and_its_chunks_are_the_same(tmp_path, enc):
    text, chunks = tmp_path / 'text.txt', tmp_path / 'text.npz'
    text.write_text('To be, or not to be: that is the question.\n' * 10)
    encode_dataset(ROOT / 'models' / 'demo', [text], chunks, workers=1)
    [[ids], [encoded]] = (read_documents(enc, [str(path)]) for path in (text, chunks))
    np.testing.assert_array_equal(ids, encoded)


@pytest.mark.parametrize('text', ['', 'a'])
def test_nothing_to_predict(tmp_path, enc, text):
    (tmp_path / 'short.txt').write_text(text)
    with pytest.raises(UserError, match='short.txt holds no two tokens in a row; name a text'):
        read_documents(enc, [str(tmp_path / 'short.txt')])
