import pytest

import gpt2
from gpt2 import completion, sample
from gpt2.encoder import END_OF_TEXT
from gpt2.options import SamplingOptions

sample_generate = sample.generate


@pytest.fixture(scope='module')
def demo():
    return gpt2.load('demo', precision='float32')


def continued(model, prompts, options, numbers=None):
    contexts = list(map(model.enc.encode, prompts))
    return completion.complete(model, contexts, options, numbers=numbers)


def test_each_row_stops_by_itself(demo):
    """And has the text that it has alone."""
    options = SamplingOptions(length=80, seed=1, stop=['\n\n', '.'])
    prompts = ['ROMEO:\n', 'O ', 'KING RICHARD III:\nNow is the winter']
    together = continued(demo, prompts, options)
    assert {text.ended for text in together} >= {'stop'}
    assert len({len(text.tokens) for text in together}) > 1
    for number, (prompt, text) in enumerate(zip(prompts, together, strict=True)):
        [alone] = continued(demo, [prompt], options, [number])
        assert (alone.text, alone.tokens, alone.ended) == (text.text, text.tokens, text.ended)
        whole = demo.enc.decode(text.tokens)
        assert whole.startswith(text.text) and '.' not in text.text and '\n\n' not in text.text
        assert text.log_probability == pytest.approx(sum(text.log_probs)) and text.log_probs


def test_a_batch_ends_when_all_have(demo, monkeypatch):
    drawn = []

    def generate(*args, **options):
        for piece in sample_generate(*args, **options):
            drawn.append(piece.tokens.shape[1])
            yield piece

    monkeypatch.setattr(sample, 'generate', generate)
    options = SamplingOptions(length=300, seed=1, stop='e')
    texts = continued(demo, ['ROMEO:\n'] * 4, options)
    assert {text.ended for text in texts} == {'stop'}
    assert sum(drawn[:-1]) < max(len(text.tokens) for text in texts) <= sum(drawn) < 300


def test_what_is_streamed_is_the_text(demo):
    options = SamplingOptions(length=60, seed=2, stop=['\n\n'], include_stop=True)
    contexts = [demo.enc.encode('ROMEO:\n'), demo.enc.encode('JULIET:\nO')]
    shown, times = ['', ''], 0
    for rows in completion.stream(demo, contexts, options):
        shown = [before + new for before, (_, new) in zip(shown, rows, strict=True)]
        times += 1
    texts = [text for text, _ in rows]
    assert shown == [text.text for text in texts] and times > 1
    assert all(text.ended for text in texts)


def test_samples_do_not_depend_on_the_batch(demo):
    context, options = demo.enc.encode('ROMEO:\n'), SamplingOptions(length=20, seed=1)

    def texts(nsamples, batch_size):
        found = completion.samples(demo, context, options, nsamples, batch_size)
        return [text.text for text in found]

    four = texts(4, 4)
    assert len(set(four)) == 4
    for batch_size in (1, 3, 9):
        assert texts(4, batch_size) == four
    assert texts(3, 2) == four[:3]


def test_no_end_when_nsamples_is_0(demo):
    options = SamplingOptions(length=20, seed=1)
    out = completion.samples(demo, [1], options, 0, 2)
    assert len({tuple(next(out).tokens) for _ in range(7)}) == 7


def test_beams_as_texts(demo):
    context = demo.enc.encode('ROMEO:\n')
    options = SamplingOptions(length=20, num_beams=4, stop=[END_OF_TEXT, '\n'])
    texts = list(completion.samples(demo, context, options, 2, 1))
    assert len(texts) == 2
    assert texts[0].log_probability >= texts[1].log_probability
    assert all('\n' not in text.text for text in texts)
    assert len(list(completion.samples(demo, context, options, 0, 1))) == 4


def test_the_best_of_beams_side_by_side(demo):
    contexts = list(map(demo.enc.encode, ('ROMEO:\n', 'O ')))
    options = SamplingOptions(length=12, num_beams=3)
    best = [next(completion.samples(demo, context, options, 1, 1)).text for context in contexts]
    assert [text.text for text in completion.complete(demo, contexts, options)] == best
    for rows, asked in ((contexts, options), ([], SamplingOptions())):
        with pytest.raises(gpt2.UserError, match='for a context or more; beam.search'):
            next(completion.stream(demo, rows, asked))
