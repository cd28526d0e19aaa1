import json

import numpy as np
import pytest

from conftest import ROOT
from gpt2.classification.rows import (
    Example,
    Examples,
    Transformer,
    arrays,
    encode_rows,
    labels_of,
    load_rows,
)
from gpt2.classification.task import TOKENS, Task, read_task
from gpt2.encoder import get_encoder, read_encoder
from gpt2.errors import UserError
from gpt2.special_tokens import extended

DEMO = read_encoder(ROOT / 'models' / 'demo')
ENC = extended(DEMO, TOKENS)
START, DELIMITER, EXTRACT = 1024, 1025, 1026


def test_the_input_transformations():
    a, b, c = (DEMO.encode(text) for text in ('Good', ' night', ' day'))

    def inputs(kind, others, **options):
        return Transformer(Task(kind, **options), ENC, 256).inputs('Good', others)

    ab, ba = [START, *a, DELIMITER, *b, EXTRACT], [START, *b, DELIMITER, *a, EXTRACT]
    assert inputs('classification', []) == inputs('regression', []) == [[START, *a, EXTRACT]]
    assert inputs('pair', [' night']) == [ab]
    assert inputs('similarity', [' night']) == [ab, ba]
    assert inputs('regression', [' night'], pairs=True) == [ab, ba]
    assert inputs('multiple_choice', [' night', ' day']) == [
        ab,
        [START, *a, DELIMITER, *c, EXTRACT],
    ]


def test_what_is_too_long_loses_its_end():
    for kind, others, length in (('classification', [], 64), ('pair', ['b ' * 90], 63)):
        transformer = Transformer(Task(kind), ENC, 64)
        [ids] = transformer.inputs('a ' * 90, others)
        assert len(ids) == length and ids[-1] == EXTRACT and transformer.cut == 1 + len(others)


def written(folder, *rows):
    path = folder / 'rows.jsonl'
    path.write_text(''.join(json.dumps(row) + '\n' for row in rows))
    return path


def examples_of(path, task, labelled=True):
    return encode_rows(load_rows(path), task, ENC, 256, path, labelled)


def test_rows_become_examples(tmp_path, capsys):
    path = written(
        tmp_path,
        {'text': 'Good', 'label': True},
        {'text': 'night ' * 300, 'label': False},
        {'text': '', 'label': True},
    )
    task = Task('classification')
    labels = labels_of(load_rows(path), task, path)
    assert labels == ('false', 'true')
    found = examples_of(path, Task('classification', labels=labels))
    assert [example.label for example in found] == [1, 0, 1]
    assert found[2].inputs == [[START, EXTRACT]] and len(found[1].inputs[0]) == 256
    assert capsys.readouterr().err == f'{path}: 1 texts are too long and lose their end\n'


def test_several_columns(tmp_path):
    path = tmp_path / 'stories.csv'
    path.write_text('one,two,first,last,right\nGood,night,"a","b",1\n')
    task = Task('multiple_choice', 'one,two', choices='first,last', label='right')
    [example] = examples_of(path, task)
    assert [ENC.decode(ids) for ids in example.inputs] == [
        f'<|start|>Good night<|delimiter|>{choice}<|extract|>' for choice in 'ab'
    ]
    assert example.label == 1
    path.write_text('text,choices,label\nGood,"[""a"", ""b""]",0\n')
    assert len(examples_of(path, Task('multiple_choice'))[0].inputs) == 2


@pytest.mark.parametrize(
    'kind, row, sentence',
    [
        ('pair', {'text': 'a', 'label': 'x'}, 'line 1 has no column second, but: text, label; set'),
        ('pair', {'text': 'a', 'second': 1, 'label': 'x'}, 'has 1 as second, which is no text'),
        ('classification', {'text': 'a', 'label': 'z'}, 'has z as label, not one of x, y; mend'),
        ('regression', {'text': 'a', 'label': 'z'}, 'has z as label, not a number; mend'),
        ('regression', {'text': 'a', 'label': 'nan'}, 'has nan as label, not a number; mend'),
        ('multiple_choice', {'text': 'a', 'choices': 'b', 'label': 0}, "has 'b' as choices, not a"),
        ('multiple_choice', {'text': 'a', 'choices': ['b', 'c'], 'label': 2}, 'from 0 to 1; mend'),
    ],
)
def test_broken_rows(tmp_path, kind, row, sentence):
    path = written(tmp_path, row)
    labels = ('x', 'y') if kind in ('pair', 'classification') else ()
    with pytest.raises(UserError, match=sentence):
        examples_of(path, Task(kind, labels=labels))


def test_files_that_cannot_be_learnt_from(tmp_path):
    path = written(tmp_path, {'text': 'a', 'label': 'x'})
    with pytest.raises(UserError, match='has 1 labels in the column label; a task has two'):
        labels_of(load_rows(path), Task('classification'), path)
    with pytest.raises(UserError, match='holds no row; name a file that does'):
        load_rows(written(tmp_path))
    with pytest.raises(UserError, match='is no .csv or .jsonl file; name one'):
        load_rows(tmp_path / 'a.txt')
    path = written(
        tmp_path,
        {'text': 'a', 'choices': ['b', 'c'], 'label': 0},
        {'text': 'a', 'choices': ['b', 'c', 'd'], 'label': 0},
    )
    with pytest.raises(UserError, match='line 2 has 3 choices, the first row 2; give each row as'):
        examples_of(path, Task('multiple_choice'))


def new_examples(count):
    random = np.random.default_rng(1)
    lengths = random.integers(2, 60, count)
    return Examples([Example([[7] * n], i) for i, n in enumerate(lengths)], 64)


def test_batches_depend_on_seed_and_step_alone():
    examples = new_examples(20)

    def labels(step, count):
        drawn = examples.batches(3, step, [2, 4])
        return [next(drawn)[1]['labels'].tolist() for _ in range(count)]

    assert labels(0, 7)[3:] == labels(3, 4)
    tokens, targets = next(examples.batches(3, 0, [2, 4]))
    assert tokens.shape[:3] == (2, 4, 1) and targets['ends'].shape == (2, 4, 1)
    assert np.array_equal(targets['ends'], (tokens == 7).sum(axis=-1) - 1)


def test_no_batch_is_longer_than_the_context():
    assert arrays([Example([[1] * 60], 0)], 60)[0].shape == (1, 1, 60)


def test_a_task_is_read_as_it_was_written(tmp_path):
    task = Task('cloze', labels=('1', '5'), patterns=('{text} It was',), weights=(0.5,))
    (tmp_path / 'task.json').write_text(task.to_text())
    assert read_task(tmp_path) == task
    for content in (
        *('{}', '[1]', '{"kind": "riddle"}', '{"kind": "pair", "colour": 1}', '{"kind": "pair"}'),
        *('{"kind": "regression", "text": 1}', '{"kind": "pair", "labels": "ab"}'),
    ):
        (tmp_path / 'task.json').write_text(content)
        with pytest.raises(UserError, match='task.json is damaged: '):
            read_task(tmp_path)
    with pytest.raises(UserError, match='demo has learnt no task; run: python classify.py train'):
        read_task(ROOT / 'models' / 'demo')
    assert get_encoder('demo').encoder == DEMO.encoder
