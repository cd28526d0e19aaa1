import json

import numpy as np
import pytest

from conftest import ROOT
from gpt2 import load
from gpt2.classification.answering import Answerer
from gpt2.classification.cloze import Filler, accuracies, encode, ensemble, read_patterns
from gpt2.encoder import read_encoder
from gpt2.errors import UserError

ENC = read_encoder(ROOT / 'models' / 'demo')
WORDS = {'good': ' good', 'ill': ' abominable'}


def written(folder, patterns, verbalizers=WORDS):
    path = folder / 'patterns.json'
    path.write_text(json.dumps({'patterns': patterns, 'verbalizers': verbalizers}))
    return path


def test_patterns_end_in_their_blank(tmp_path):
    for pattern in ('{text} It was', '{text} It was {blank}', '{text} It was ____'):
        task = read_patterns(written(tmp_path, [pattern]))
        assert task.patterns == ('{text} It was',) and task.labels == ('good', 'ill')
        assert task.verbalizers == (' good', ' abominable')


@pytest.mark.parametrize(
    'patterns, verbalizers, sentence',
    [
        (['It was {blank}. {text}'], WORDS, 'without having seen that; put the blank at the end'),
        (['{text} ___!'], WORDS, 'goes on behind its blank, and a model that reads from left to'),
        (['{text} It was '], WORDS, "blank space, which belongs to the verbalizers, as in ' great"),
        (['It was'], WORDS, 'names no column; write one: {text}'),
        ([], WORDS, 'needs a pattern, and two labels at least'),
        (['{text} a'], {'1': ' a'}, 'needs a pattern, and two labels at least'),
        (['{text} a'], {'1': ' a', '2': ' a'}, 'each with its own word'),
        (['{text} a'], {'1': 'a', '2': ''}, 'its verbalizers are no texts by their labels'),
        ('{text} a', WORDS, 'its patterns are no list of texts'),
    ],
)
def test_what_is_no_pattern(tmp_path, patterns, verbalizers, sentence):
    with pytest.raises(UserError, match=sentence):
        read_patterns(written(tmp_path, patterns, verbalizers))


def test_a_file_that_cannot_be_read(tmp_path):
    path = tmp_path / 'patterns.json'
    for content in ('[]', '{', '{"patterns": ["{text}"]}'):
        path.write_text(content)
        with pytest.raises(UserError, match='patterns.json .*; write it as docs/classification.md'):
            read_patterns(path)
    with pytest.raises(UserError, match='gone.json holds no patterns: '):
        read_patterns(tmp_path / 'gone.json')


def test_what_is_too_long_loses_the_end_of_its_longest_field(tmp_path):
    task = read_patterns(written(tmp_path, ['{name}: {text} It was']))
    filler = Filler(task, ENC, 64)
    fields = {'name': 'Romeo', 'text': 'But, soft! what light ' * 40}
    for ids, word in zip(filler.inputs(task.patterns[0], fields), task.verbalizers, strict=True):
        assert len(ids) <= 64 and filler.cut == 1
        text = ENC.decode(ids)
        assert text.startswith('Romeo: But, soft!') and text.endswith(f' It was{word}')
    assert max(map(len, filler.inputs(task.patterns[0], fields))) > 55  # little is lost
    with pytest.raises(UserError, match='is longer than the context; shorten it'):
        Filler(task, ENC, 8).inputs('x' * 50 + '{name}', {'name': 'a'})


@pytest.fixture(scope='module', name='demo')
def load_demo():
    return load('demo')


ROWS = [
    (1, {'text': 'The king is dead.', 'label': 'ill'}),
    (2, {'text': 'O happy day!', 'label': 'good'}),
    (3, {'text': '', 'label': 'good'}),
]


def test_scores_are_mean_log_probabilities(demo, tmp_path):
    """As the model's own log_probs has them, of texts of any length in a batch; the second
    verbalizer has several tokens."""
    task = read_patterns(written(tmp_path, ['{text} It was', 'Say: {text} How']))
    assert [len(ENC.encode(word)) for word in task.verbalizers][0] == 1
    assert len(ENC.encode(task.verbalizers[1])) > 2
    answerer = Answerer(demo, task)
    found, labels = answerer.answer(ROWS, 'rows', labelled=True)
    assert labels.tolist() == [1, 0, 0]
    expected = np.zeros([2, 3, 2])
    for i, pattern in enumerate(task.patterns):
        for j, (_, row) in enumerate(ROWS):
            for k, word in enumerate(task.verbalizers):
                context = demo.enc.encode(pattern.replace('{text}', row['text']))
                ids = demo.enc.encode(word)
                logs = demo.log_probs([context + ids])[0][-len(ids) :]
                expected[i, j, k] = np.mean([log for _, log in logs])
    np.testing.assert_allclose(found, expected.mean(axis=0), atol=1e-5)
    assert answerer.patterns == accuracies(expected, labels)
    # The prior is what stands there for the empty text, which is the third row.
    calibrated, _ = Answerer(demo, task, calibrate=True).answer(ROWS, 'rows', labelled=True)
    np.testing.assert_allclose(calibrated, found - found[2], atol=1e-5)
    answerer.weights = (1.0, 0.0)
    np.testing.assert_allclose(answerer.answer(ROWS, 'rows', False)[0], expected[0], atol=1e-5)


def test_patterns_are_weighted_by_accuracy(demo, tmp_path):
    figures = np.array([[[0.0, 1.0]], [[4.0, 0.0]]])
    np.testing.assert_allclose(ensemble(figures, (3, 1)), [[1, 0.75]])
    for weights in ((), (0, 0)):
        np.testing.assert_allclose(ensemble(figures, weights), [[2, 0.5]])
    answerer = Answerer(demo, read_patterns(written(tmp_path, ['{text} It was', 'A {text}'])))
    answerer.weigh(ROWS, 'rows')
    assert list(answerer.weights) == answerer.patterns and len(answerer.weights) == 2


def test_broken_rows(tmp_path):
    task = read_patterns(written(tmp_path, ['{title}: {text} It was']))
    with pytest.raises(UserError, match='a.csv line 1 has no column title, but: text, label'):
        encode(ROWS, task, ENC, 64, 'a.csv')


def test_as_transformers_computes_it(tmp_path):
    """On a random model: the mean log-probability of each verbalizer's tokens."""
    import sys

    torch = pytest.importorskip('torch', reason='PyTorch is not installed')
    pytest.importorskip('transformers', reason='Transformers is not installed')
    sys.path.insert(0, str(ROOT / 'benchmarks'))
    from peers import transformers_model

    from gpt2.hparams import HParams
    from gpt2.loading import Model
    from gpt2.params import flatten, init_params

    shape = HParams(n_vocab=1024, n_ctx=64, n_embd=16, n_head=2, n_layer=2)
    params = init_params(shape, seed=1)
    for i, variable in enumerate(flatten(params).values()):
        noise = np.random.default_rng(i).normal(size=variable.shape) * 0.1
        variable.assign_add(noise.astype(np.float32))
    task = read_patterns(written(tmp_path, ['{text} It was']))
    figures, _ = Answerer(Model(params, shape, ENC), task).answer(ROWS[:2], 'rows', True)
    peer = transformers_model(params, shape)
    for row, example in zip(figures, encode(ROWS[:2], task, ENC, 64, 'rows'), strict=True):
        for figure, ids, blank in zip(row, example.inputs, example.blanks, strict=True):
            with torch.no_grad():
                logs = torch.log_softmax(peer(torch.tensor([ids])).logits[0], -1)
            expected = np.mean([float(logs[i - 1, ids[i]]) for i in range(-blank, 0)])
            assert figure == pytest.approx(expected, abs=1e-4)
