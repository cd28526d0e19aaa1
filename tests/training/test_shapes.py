"""GPT-3's shapes by their names, banded attention from the command line, and --dry_run."""

import json
import re

import pytest

from conftest import ROOT
from gpt2.errors import UserError
from gpt2.hparams import HParams
from gpt2.training import loss
from gpt2.training.dry_run import SLICE, SMALL_SLICE, memory_of, what_it_takes
from gpt2.training.prepare import prepare
from gpt2.training.shapes import OF_ALL, SHAPES, shape_of
from jobs import default_flags, new_job, train, working_directory  # noqa: F401

DEMO = {'model_name': 'demo', 'models_dir': str(ROOT / 'models'), 'restore_from': 'scratch'}
# The paper's table 2.1: blocks, width, heads, features of a head.
PAPER = {
    'gpt3-125m': (12, 768, 12, 64),
    'gpt3-350m': (24, 1024, 16, 64),
    'gpt3-760m': (24, 1536, 16, 96),
    'gpt3-1.3b': (24, 2048, 24, 128),
    'gpt3-2.7b': (32, 2560, 32, 80),
    'gpt3-6.7b': (32, 4096, 32, 128),
    'gpt3-13b': (40, 5140, 40, 128),
    'gpt3-175b': (96, 12288, 96, 128),
}
CHOSEN = {'gpt3-1.3b': (24, 2048, 16, 128), 'gpt3-13b': (40, 5120, 40, 128)}


def hparams_of(name, n_vocab=50257):
    return HParams(n_vocab=n_vocab).override_from_dict(shape_of(default_flags(shape=name)))


@pytest.mark.parametrize('name', PAPER)
def test_the_papers_shapes(name):
    """Those that contradict themselves are as CHOSEN says, and parameters are as many as named."""
    layers, width, heads, features = PAPER[name]
    assert (heads * features == width) == (name not in CHOSEN)
    hparams = hparams_of(name)
    layers, width, heads, features = CHOSEN.get(name, PAPER[name])
    assert (hparams.n_layer, hparams.n_embd, hparams.n_head) == (layers, width, heads)
    assert hparams.n_ctx == 2048 and hparams.n_embd // hparams.n_head == features
    named, unit = re.fullmatch(r'gpt3-([0-9.]+)([mb])', name).groups()
    named = float(named) * {'m': 1e6, 'b': 1e9}[unit]
    assert hparams.parameters == pytest.approx(named, rel=0.02)


def test_the_table_of_the_docs_is_that_of_the_code():
    page = (ROOT / 'docs' / 'training.md').read_text('utf-8')
    found = re.findall(r'^\| (gpt3-.*?) \|$', page, re.M)
    rows = [row.split(' | ')[:5] for row in found]
    assert rows == [
        [name, str(x.n_layer), f'{x.n_head} x {x.n_embd // x.n_head}', str(x.n_embd), parameters]
        for name, x in ((name, hparams_of(name)) for name in SHAPES)
        for parameters in [f'{x.parameters:,}']
    ]


def test_the_shapes_attention():
    hparams = hparams_of('gpt3-125m')
    assert [hparams.window_of(i) for i in range(4)] == [None, 256, None, 256]
    shape = shape_of(default_flags(shape='gpt3-125m', attention='dense', n_layer=2))
    hparams = HParams(n_vocab=9).override_from_dict(shape)
    assert hparams == HParams(9, 2048, 768, 12, 2) and 'window' not in hparams.to_dict()


@pytest.mark.parametrize('name', SHAPES)
def test_a_dry_run_of_each(name):
    lines = list(what_it_takes(default_flags(shape=name, **DEMO, accumulate_gradients=3), ()))
    hparams = hparams_of(name, n_vocab=1024)
    width, layers = hparams.n_embd, hparams.n_layer
    assert lines[0] == f'{layers} blocks of {hparams.n_head} heads x {width // hparams.n_head}'
    assert f'{layers // 2} blocks look at 256 positions, {layers // 2} at all 2048' in lines
    found = [line.split()[-3:] for line in lines if line.endswith(f' x {4 * width}')]
    assert found == [[str(width), 'x', str(4 * width)]]
    assert f'parameters: {hparams.parameters:,}' in lines
    assert lines[-1] == 'tokens per step: 3 x 2048 = 6,144'


def test_a_dry_run_needs_neither_tensorflow_nor_a_vocabulary(process, no_tensorflow, tmp_path):
    done = process('train.py', '--restore_from=scratch', '--shape=gpt3-175b', '--dry_run')
    assert (done.returncode, done.stderr) == (0, '')
    assert 'The vocabulary is taken for one of 50257 tokens: no model in models/117M' in done.stdout
    assert 'parameters: 174,604,259,328' in done.stdout
    assert [path.name for path in tmp_path.iterdir()] == ['no_tensorflow']


def test_memory_is_what_was_measured():
    """The peaks of docs/performance.md, 124M in windows of 1 x 1024, beside which TensorFlow itself
    and what it has not given back yet take some GB."""
    hparams, rest = HParams(n_vocab=50257), []
    measured = {('float32', 0): 4.1, ('float32', 1): 3.58, ('bfloat16', 0): 3.81}
    for (precision, saving), peak in (measured | {('bfloat16', 1): 3.51}).items():
        flags = default_flags(precision=precision, memory_saving_gradients=bool(saving))
        rest.append(peak - sum(memory_of(hparams, flags, 1024).values()) / 1e9)
    assert 0.7 < min(rest) and max(rest) - min(rest) < 0.2
    assert (SLICE, SMALL_SLICE) == (loss.SLICE, loss.SMALL_SLICE)
    flags = default_flags(optimizer='sgd', only_train_transformer_layers=True)
    memory, trained = memory_of(hparams, flags, 1024), 12 * (12 * 768**2 + 13 * 768)
    assert memory['sgd'] == 0 and memory['gradients'] == 4 * trained


@pytest.mark.parametrize(
    'flags, sentence',
    [
        ({'shape': 'gpt4'}, '--shape is gpt3-125m, .* or gpt3-175b, not gpt4'),
        ({'attention': 'dense,bended'}, 'attention is a list of "dense" and "banded", one or more'),
        ({'attention': 'banded'}, 'window, .*, and attention, .*, go together; set both, or none'),
        ({'window': 8}, 'window, .*, and attention, .*, go together; set both, or none'),
        ({'attention': 'banded', 'window': 0}, 'window must be a whole number above 0'),
        ({'shape': 'gpt3-125m', 'n_head': 7}, 'n_embd 768 does not divide into n_head 7'),
        ({'context_length': 999}, '--context_length 999 is more than the n_ctx of 256'),
        ({'beta2': 1.0}, '--beta2 1 leaves nothing; set it below 1'),
    ],
)
def test_what_cannot_be_trained(flags, sentence):
    flags = default_flags(dataset=str(ROOT / 'README.md'), **DEMO, **flags)
    with pytest.raises(UserError, match=sentence):
        prepare(flags, say=print)
    with pytest.raises(UserError, match=sentence):
        list(what_it_takes(flags, ()))


def test_a_shape_is_for_a_new_model():
    for restore_from in ('latest', 'fresh'):
        flags = default_flags(model_name='demo', shape='gpt3-1.3b', restore_from=restore_from)
        with pytest.raises(UserError, match='is for a new model; add --restore_from scratch'):
            list(what_it_takes(flags, ()))


def test_a_banded_run_keeps_its_attention():
    banded = {'attention': 'banded,dense', 'window': 8, 'n_layer': 2}
    step, _ = train(max_steps=2, restore_from='scratch', beta1=0.8, beta2=0.95, **banded)
    written = json.loads(open('checkpoint/run1/hparams.json').read())
    assert step == 2 and written['attention'] == ['banded', 'dense'] and written['window'] == 8
    job = new_job(max_steps=3, **banded)
    assert job.start.hparams.window_of(0) == 8 and job.flags.beta2 == 0.999  # as it is given here
    with pytest.raises(UserError, match="has attention .*, not .*'dense'.*; leave out --attention"):
        new_job(attention='dense,banded')
    lines = list(what_it_takes(default_flags(model_name='small'), ()))
    assert '1 blocks look at 8 positions, 1 at all 64' in lines


def test_a_run_without_it_writes_no_new_fields():
    train(max_steps=1, restore_from='scratch', attention='dense')
    names = {'n_vocab', 'n_ctx', 'n_embd', 'n_head', 'n_layer'}
    assert json.loads(open('checkpoint/run1/hparams.json').read()).keys() == names


def test_all_that_a_shape_says_is_a_hyperparameter():
    assert {*OF_ALL} < {*vars(HParams())}
