"""The commands of a session at the prompt."""

import importlib
import inspect
import re

import pytest

from conftest import ROOT
from gpt2.errors import UserError
from gpt2.hparams import HParams
from gpt2.options import SamplingOptions
from gpt2.session import KINDS, Session

HPARAMS = HParams(n_vocab=1024, n_ctx=256, n_embd=32, n_head=2, n_layer=1)


@pytest.fixture
def interact_model(monkeypatch):
    monkeypatch.syspath_prepend(ROOT)
    return importlib.import_module('interactive_conditional_samples').interact_model


@pytest.fixture
def session(interact_model):
    return Session(HPARAMS, SamplingOptions(length=128), 1, 1, interact_model.__doc__)


@pytest.mark.parametrize(
    'line, answer',
    [
        (':set length 50', 'length 50'),
        (':set  length   50 ', 'length 50'),
        (':s length 50', 'length 50'),
        (':set length None', 'length 128'),
        (':set temperature 0', 'temperature 0.0'),
        (':set seed 7', 'seed 7'),
        (':set stop Nurse: and so', 'stop Nurse: and so'),
        (':set stop ["\\n", "ä"]', 'stop ["\\n", "ä"]'),
        (':set logit_bias {"5": -1.5}', 'logit_bias {"5": -1.5}'),
        (':set keep_prompt true', 'keep_prompt True'),
        (':set nsamples 3', 'nsamples 3'),
        (':set batch_size 2', 'batch_size 2'),
        (':set num_beams 4', 'num_beams 4'),
    ],
)
def test_one_is_set(session, line, answer):
    assert session.obey(line) == answer
    name, _, value = answer.partition(' ')
    assert session.obey(f':set {name}') == answer
    assert f'{name:22}{value}' in session.obey(':set').splitlines()


@pytest.mark.parametrize(
    'line, sentence',
    [
        (':set length fifty', "length is a whole number, not 'fifty'"),
        (':set length 0', 'length is from 1 to 10000000, not 0; :set length to such a number'),
        (':set top_p 2', 'top_p is from 0 to 1, not 2.0; :set top_p to such a number'),
        (':set keep 256', 'keep is from 1 to 255, not 256; :set keep to such a number'),
        (':set nsamples -1', 'nsamples is at least 0, not -1; :set nsamples to such a number'),
        (':set batch_size 65537', 'batch_size is at most 65536, not 65537; set a smaller number'),
        (':set batch_size None', "batch_size is a whole number, not 'None'"),
        (':set logit_bias {"1024": 1}', 'logit_bias names the id 1024; they go from 0 to 1023'),
        (':set logit_bias {"a"', 'logit_bias is no JSON: .*; write it as :help shows'),
        (':set keep_prompt yes', "keep_prompt is True or False, not 'yes'"),
        (
            ':set lenght 50',
            r'there is no option lenght \(did you mean length\?\) to set here; :set shows',
        ),
        (':set model_name 124M', 'there is no option model_name to set here; :set shows'),
        (':set length 50\n:set seed 1', "length is a whole number, not '50\\\\n:set seed 1'"),
        (':help lenght', r'there is no option lenght \(did you mean length\?\)'),
        (':lenght 50', 'there is no command :lenght, but :set, :help, :quit; a prompt that begins'),
        (':', 'there is no command :, but :set, :help, :quit'),
    ],
)
def test_a_mistake_is_a_sentence_and_changes_nothing(session, line, sentence):
    before = session.obey(':set')
    with pytest.raises(UserError, match=f'^{sentence}') as said:
        session.obey(line)
    assert '--' not in str(said.value) and session.obey(':set') == before


def test_what_mends_a_mistake_does(session):
    session.obey(':set temperature 0.7')
    with pytest.raises(
        UserError, match=r'num_beams 4 draws nothing; (:set temperature 1)$'
    ) as said:
        session.obey(':set num_beams 4')
    session.obey(re.search(':set.*', str(said.value))[0])
    assert session.obey(':set num_beams 4') == 'num_beams 4'


def test_help_and_the_end(session, interact_model):
    assert session.obey(':quit') is None and session.obey(':q') is None
    assert all(f':{word}' in session.obey(':help') for word in ('set', 'help', 'quit'))
    assert session.obey(':help length').startswith('Number of tokens in generated text')
    for name in KINDS:
        assert session.obey(f':help {name}')
    assert {*KINDS} < {*inspect.signature(interact_model).parameters}
    assert len(session.obey(':set').splitlines()) < 24
