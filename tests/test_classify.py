"""classify.py, run as a user runs it, on data that the tests make up."""

import json
import re

import numpy as np
import pytest
import tensorflow as tf

import gpt2
from conftest import ROOT, write_model
from gpt2.hparams import HParams
from in_process import run_script

SHAPE = HParams(n_vocab=1024, n_ctx=64, n_embd=16, n_head=2, n_layer=1)
GOOD, ILL = ('sweet', 'fair', 'gentle', 'noble'), ('foul', 'vile', 'wicked', 'false')
NAMES = ('king', 'queen', 'lord', 'maid', 'night', 'day', 'friend', 'sword')


def words(random, kind):
    return f'The {random.choice(NAMES)} is {random.choice(kind)} to the {random.choice(NAMES)}'


def new_rows(kind, count, seed):
    """Rows whose answer a model can see, one label about as often as the other."""
    random, rows = np.random.default_rng(seed), []
    for number in range(count):
        good = bool(number % 2)
        text = words(random, GOOD if good else ILL)
        row = {'text': text, 'label': 'good' if good else 'ill'}
        if kind in ('pair', 'similarity'):
            same = bool(random.integers(2))
            row['second'] = words(random, GOOD if good == same else ILL)
            row['label'] = int(same)
        if kind == 'multiple_choice':
            right = int(random.integers(2))
            pair = [random.choice(side) for side in (GOOD, ILL)]
            row = {'text': 'What is good is', 'choices': [f' {p}' for p in pair], 'label': 0}
            if right:
                row = row | {'choices': row['choices'][::-1], 'label': 1}
        if kind == 'regression':
            row['label'] = 7.5 if good else 6.5
        rows.append(row)
    return rows


def write_rows(path, rows):
    path.write_text(''.join(json.dumps(row) + '\n' for row in rows))
    return path.name


@pytest.fixture(scope='module', name='place')
def working_directory(tmp_path_factory):
    """models/small and rows of each kind; the runs of these tests come beside them."""
    place = tmp_path_factory.mktemp('classify')
    write_model(place / 'models' / 'small', SHAPE)
    for kind in ('classification', 'pair', 'similarity', 'multiple_choice', 'regression'):
        write_rows(place / f'{kind}.jsonl', new_rows(kind, 96, 1))
        write_rows(place / f'{kind}-held.jsonl', new_rows(kind, 40, 2))
    return place


@pytest.fixture(scope='module')
def classify(place):
    """Runs the script there; the lines that it prints."""

    def classify(*argv, input=''):
        result = run_script(ROOT / 'classify.py', argv, place, input)
        assert (result.returncode, result.stderr) == (0, ''), result.stderr
        return result.stdout.splitlines()

    return classify


FLAGS = ['--model_name', 'small', '--learning_rate', '0.01', '--batch_size', '16', '--seed', '1']


def train(classify, kind, *flags):
    """A run that is called as its kind."""
    argv = ['--task', f'{kind}.jsonl', '--kind', kind, '--run_name', kind]
    return classify('train', *argv, *FLAGS, *flags)


@pytest.fixture(scope='module', name='learnt')
def run_of_classification(classify):
    """What is said while it is trained."""
    return train(classify, 'classification', '--epochs', 8)


def figures(lines):
    return dict(re.split('  +', line) for line in lines)


def evaluate(classify, kind):
    flags = ['--model_name', f'checkpoint/{kind}/best']
    return figures(classify('evaluate', f'{kind}-held.jsonl', *flags))


def test_learns_a_classification(classify, learnt):
    assert len([line for line in learnt if 'validation loss' in line and 'f1 = ' in line]) == 8
    best = 'checkpoint/classification/best'
    assert learnt[-1] == f'Try: python classify.py predict FILE --model_name {best}'
    result = evaluate(classify, 'classification')
    assert list(result) == ['model', 'rows', 'loss', 'accuracy', 'f1', 'matthews']
    assert result['rows'] == '40' and float(result['accuracy']) > 0.9


@pytest.mark.parametrize('kind, name', [('multiple_choice', 'accuracy'), ('regression', 'pearson')])
def test_learns_other_kinds(classify, kind, name):
    """The stories' right end is the good one, whichever of the two it is."""
    train(classify, kind, '--epochs', 8)
    result = evaluate(classify, kind)
    assert list(result) == ['model', 'rows', 'loss', name]
    assert float(result[name]) > 0.9


def test_a_similarity_is_one_in_any_order(classify, place):
    flags = ['--max_steps', 2, '--head_bias', False, '--val_every', 0]
    assert train(classify, 'similarity', *flags)[-2:] == [
        'Go on: python classify.py train --run_name similarity',
        'Try: python classify.py predict FILE --model_name checkpoint/similarity',
    ]
    rows = new_rows('similarity', 40, 2)
    turned = [row | {'text': row['second'], 'second': row['text']} for row in rows]
    sides = []
    for those in (rows, turned):
        write_rows(place / 'rows.jsonl', those)
        lines = classify('predict', 'rows.jsonl', '--model_name', 'checkpoint/similarity')
        sides.append([json.loads(line) for line in lines])
    assert [row['row'] for row in sides[0]] == list(range(1, 41))
    assert all(sum(row['probabilities'].values()) == pytest.approx(1) for row in sides[0])
    one, other = ([row['probabilities']['1'] for row in side] for side in sides)
    np.testing.assert_allclose(one, other, atol=1e-5)


def test_stopped_and_gone_on_is_never_stopped(classify, place):
    argv = ['train', '--task', 'classification.jsonl', *FLAGS, '--val_every', 2]
    whole = classify(*argv, '--run_name', 'whole')
    classify(*argv, '--run_name', 'parts', '--max_steps', 7)
    said = classify('train', '--run_name', 'parts')
    assert said[:2] == [
        'Loading checkpoint checkpoint/parts/model-7',
        'Going on with checkpoint/parts after step 7, with its own model and seed',
    ]
    assert 'model-18' in whole[-2] and 'model-18' in said[-2]
    for name in ('model-18.data-00000-of-00001', 'losses.csv'):
        one, other = (
            (place / 'checkpoint' / run / name).read_bytes() for run in ('whole', 'parts')
        )
        assert one == other


def test_the_run_folder_is_a_model_folder_with_a_head(classify, learnt, place):
    run = place / 'checkpoint' / 'classification'
    for folder in (run, run / 'best'):
        model = gpt2.load(folder)
        assert model.hparams.n_vocab == 1027 and model.enc.decode([1024]) == '<|start|>'
        assert json.loads((folder / 'task.json').read_text())['labels'] == ['good', 'ill']
        shapes = tf.train.load_checkpoint(str(folder)).get_variable_to_shape_map()
        assert shapes['head/w'] == [16, 2] and shapes['head/b'] == [2]
    assert len(model.generate('Good', length=3)) > 0
    argv = ['--dataset', 'classification.jsonl', '--run_name', 'classification']
    assert run_script(ROOT / 'train.py', argv, place).stderr == (
        'train.py: checkpoint/classification learns a task; go on with it: python classify.py '
        'train --run_name classification, or set another --run_name\n'
    )


def test_a_model_that_knows_the_tokens_gets_a_head_of_its_own(classify, learnt, place):
    argv = ['train', '--task', 'pair.jsonl', '--kind', 'pair', *FLAGS, '--run_name', 'second']
    classify(*argv, '--model_name', 'checkpoint/classification/best', '--max_steps', 1)
    second = place / 'checkpoint' / 'second'
    assert json.loads((second / 'hparams.json').read_text())['n_vocab'] == 1027
    assert json.loads((second / 'task.json').read_text())['labels'] == ['0', '1']


def test_predict_reads_texts_from_stdin(classify, learnt, place):
    text = 'The king is fair to the maid\n\n{"text": "The king is foul to the maid"}\n'
    argv = ['predict', '--model_name', 'checkpoint/classification']
    rows = [json.loads(line) for line in classify(*argv, input=text)]
    assert [row['label'] for row in rows] == ['good', 'ill']
    assert classify(*argv, '--output_path', 'out.jsonl', input=text) == []
    assert [*map(json.loads, (place / 'out.jsonl').read_text().splitlines())] == rows


def test_a_cloze_as_it_is_and_trained(classify, place):
    patterns = {
        'patterns': ['{text}, so', '{text}:'],
        'verbalizers': {'good': ' good', 'ill': ' b'},
    }
    (place / 'patterns.json').write_text(json.dumps(patterns))
    held, argv = 'classification-held.jsonl', ['--patterns', 'patterns.json', *FLAGS[:2]]
    before = figures(classify('cloze', held, *argv, '--output_path', 'out.json'))
    assert list(before) == [
        *('model', 'rows', 'loss', 'accuracy', 'f1', 'matthews'),
        *('accuracy of pattern 1', 'accuracy of pattern 2'),
    ]
    assert json.loads((place / 'out.json').read_text())['rows'] == 40
    more = ['--calibrate', '--examples', 'classification.jsonl']
    assert figures(classify('cloze', held, *argv, *more))['loss'] != before['loss']
    train = ['train', '--kind', 'cloze', '--task', 'classification.jsonl', *FLAGS, *argv[:2]]
    classify(*train, '--epochs', 6, '--lm_weight', 0.1, '--run_name', 'cloze', '--val_every', 0)
    task = json.loads((place / 'checkpoint' / 'cloze' / 'task.json').read_text())
    assert len(task['weights']) == 2 and task['patterns'] == ['{text}, so', '{text}:']
    flags = ['--model_name', 'checkpoint/cloze']
    assert float(figures(classify('evaluate', held, *flags))['accuracy']) > 0.9
    [line] = classify('predict', *flags, input='The king is vile to the queen\n')
    assert json.loads(line)['label'] == 'ill'


@pytest.mark.parametrize(
    'argv, sentence',
    [
        (['train'], 'no rows are named to learn from; run: python classify.py train --task FILE'),
        (['train', '--task', 'gone.csv'], 'gone.csv is no .csv or .jsonl file; name one'),
        (['train', '--task', 'pair.jsonl', '--kind', 'riddle'], '--kind is classification, pair, '),
        (
            ['train', '--task', 'pair.jsonl', '--kind', 'cloze'],
            '--kind cloze and --patterns FILE go',
        ),
        (
            ['train', '--task', 'pair.jsonl', '--label', 'x'],
            'has no column x, but: text, label, se',
        ),
        (['train', '--task', 'pair.jsonl', '--epochs', '0'], '--epochs is a number from 1 up, not'),
        (
            ['train', '--task', 'pair.jsonl', '--head_dropout', '1'],
            '1 leaves nothing; set it below',
        ),
        (
            ['train', '--task', 'pair.jsonl', '--warmup', '2'],
            '--warmup is a share from 0 to 1, not',
        ),
        (['evaluate', 'pair.jsonl'], 'no model in .*checkpoint/classifier '),
        (['evaluate', 'pair.jsonl', '--model_name', 'small'], 'small has learnt no task; run: '),
        (
            ['predict', 'a', '--model_name', 'small', '--batch_size', '0'],
            'batch_size is at least 1',
        ),
        (['cloze', 'a', 'gone', '--model_name', 'small'], 'gone holds no patterns: '),
    ],
)
def test_mistakes_before_tensorflow(place, no_tensorflow, argv, sentence):
    if argv[0] == 'train' and '--task' in argv:
        argv = [*argv, '--model_name', 'small']
    result = run_script(ROOT / 'classify.py', argv, place)
    assert (result.returncode, result.stdout) == (2, ''), result.stderr
    assert re.search(f'^classify.py: .*{sentence}', result.stderr), result.stderr
    assert result.stderr.count('\n') == 1
