import dataclasses
import json

import numpy as np
import pytest

from conftest import ROOT
from gpt2.encoder import read_encoder
from gpt2.errors import UserError
from gpt2.options import SamplingOptions
from gpt2.special_tokens import extended
from gpt2.template import Template, find_template

ENC = extended(read_encoder(ROOT / 'models' / 'demo'), ['<question>', '<answer>', '</s>'])
QUESTION, ANSWER, END = 1024, 1025, 1026
TEXT = '{context}<question>{question}<answer>{answer}</s>'
ROW = {'context': 'The king sleeps.', 'question': 'Who sleeps?', 'answer': 'the king', 'id': 7}


def ids(*texts):
    return [i for text in texts for i in ([text] if isinstance(text, int) else ENC.encode(text))]


def counted(template, row=ROW):
    """What of a row counts, as text."""
    row = template.encode(row)
    return ENC.decode(row.ids[row.counts].tolist())


def test_a_row_is_fields_between_special_tokens():
    template = Template(TEXT, ENC, ['answer'])
    before = ids('The king sleeps.', QUESTION, 'Who sleeps?', ANSWER)
    row = template.encode(ROW)
    assert row.ids.tolist() == [*before, *ids('the king'), END] and row.start == len(before)
    assert row.ids.dtype == np.int32 and template.prompt(ROW) == before
    assert (template.asked, template.end) == (['context', 'question'], '</s>')


@pytest.mark.parametrize(
    'text, loss_on, expected',
    [
        (TEXT, None, 'The king sleeps.<question>Who sleeps?<answer>the king</s>'),
        (TEXT, ['answer'], 'the king</s>'),
        (TEXT, ['question', 'answer'], 'Who sleeps?<answer>the king</s>'),
        ('{question}\nA: {answer}\n\nC: {context}', ['answer'], ' the king\n\nC:'),
        ('{question} {answer}', ['answer'], ' the king'),
        ('{answer}{context}', ['answer'], 'the king'),
        ('{question}<nobody>{answer}', ['question'], 'Who sleeps?<nobody>'),  # is text
        ('{id}: {answer}', ['id'], '7:'),
    ],
)
def test_what_counts_are_the_named_fields_and_what_ends_them(text, loss_on, expected):
    assert counted(Template(text, ENC, loss_on)) == expected


def test_a_blank_before_a_field_goes_with_it():
    """So that the ids are those of the whole text, and a prompt's those that it begins with."""
    template = Template('Q: {question} A: {answer}', ENC)
    row = template.encode(ROW)
    assert row.ids.tolist() == ENC.encode('Q: Who sleeps? A: the king')
    assert template.prompt(ROW) == ENC.encode('Q: Who sleeps? A:') == row.ids[: row.start].tolist()
    assert (template.asked, template.end) == (['question'], '')


def test_special_tokens_in_a_field_are_text():
    template = Template(TEXT, ENC)
    row = template.encode(ROW | {'answer': '</s>'})
    assert row.ids.tolist().count(END) == 1 and ENC.decode(row.ids.tolist()).count('</s>') == 2


@pytest.mark.parametrize('value, text', [(3, '3'), (0.5, '0.5'), (True, 'true'), ('', '')])
def test_a_label_is_text_as_json_has_it(value, text):
    assert counted(Template(TEXT, ENC, ['answer']), ROW | {'answer': value}) == f'{text}</s>'


@pytest.mark.parametrize(
    'change, sentence',
    [
        ({'answer': None}, '^a.csv line 3 has None as answer, which is no text; mend the row$'),
        ({'answer': ['the king']}, r"^a.csv line 3 has \['the king'\] as answer, which is no te"),
    ],
)
def test_a_row_that_is_wrong(change, sentence):
    with pytest.raises(UserError, match=sentence):
        Template(TEXT, ENC).encode(ROW | change, 'a.csv line 3')
    with pytest.raises(UserError, match='^a.csv line 3 has no field context, but: answer; mend'):
        Template(TEXT, ENC).encode({'answer': ''} | change, 'a.csv line 3')


@pytest.mark.parametrize(
    'text, loss_on, sentence',
    [
        ('no field', None, "^--template 'no field' names no field; write one in braces, as in '{q"),
        ('{}', None, 'names no field'),
        (TEXT, ['answer', 'label'], '^--loss_on label is no field of the template, but: context, '),
    ],
)
def test_a_template_that_is_wrong(text, loss_on, sentence):
    with pytest.raises(UserError, match=sentence):
        Template(text, ENC, loss_on)


def test_the_template_of_a_folder(tmp_path):
    path = tmp_path / 'template.json'
    with pytest.raises(UserError, match='has learnt no template; write one: --template'):
        find_template(tmp_path, True, ENC)
    assert find_template(tmp_path, TEXT, ENC).asked == ['context', 'question']
    path.write_text(Template(TEXT, ENC, ['question']).to_text())
    for text in (True, TEXT):
        assert find_template(tmp_path, text, ENC).asked == ['context']
    assert find_template(tmp_path, '{a}: {b}', ENC).asked == ['a']
    with pytest.raises(UserError, match=r"^the template '{a}</s>' has no field to ask for before"):
        find_template(tmp_path, '{a}</s>', ENC)
    for content in ('{', '{"template": "{a}"}', '{"template": 1, "loss_on": null}', '[]'):
        path.write_text(content)
        with pytest.raises(UserError, match='template.json is damaged: .*; put it back, or write'):
            find_template(tmp_path, True, ENC)
    path.write_text(json.dumps({'template': TEXT, 'loss_on': [1]}))
    with pytest.raises(UserError, match='it holds no template'):
        find_template(tmp_path, True, ENC)


def test_texts_become_rows_and_the_end_a_stop():
    template = Template(TEXT, ENC)
    assert list(template.rows(['a', 'b', 'c', 'd', 'e'])) == [
        {'context': 'a', 'question': 'b'},
        {'context': 'c', 'question': 'd'},
    ]
    options = SamplingOptions(length=5, stop='x')
    assert template.ended(options) == dataclasses.replace(options, stop=['x', '</s>'])
    assert Template('{a} {b}', ENC).ended(options) == options
