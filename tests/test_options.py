import inspect
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from gpt2 import cli
from gpt2.errors import UserError
from gpt2.hparams import HParams
from gpt2.options import SamplingOptions, check_precision, check_sampler, with_help


@pytest.mark.parametrize(
    'options, sentence',
    [
        ({'temperature': -1}, 'temperature is at least 0, not -1; set --temperature to such'),
        ({'temperature': float('nan')}, 'temperature is at least 0, not nan'),
        ({'temperature': float('inf')}, 'temperature is at least 0, not inf'),
        ({'top_k': -1}, 'top_k is at least 0, not -1'),
        ({'top_p': 1.5}, 'top_p is from 0 to 1, not 1.5'),
        ({'seed': -1}, 'seed is at least 0, not -1'),
        ({'temperature': None}, 'temperature is a number, at least 0, not None; set --temper'),
        ({'temperature': '1'}, "temperature is a number, at least 0, not '1'; set --temperature"),
        ({'top_p': 'models'}, "top_p is a number, from 0 to 1, not 'models'; set --top_p"),
        ({'top_p': True}, 'top_p is a number, from 0 to 1, not True; set --top_p'),
        ({'top_k': 40.0}, 'top_k is a whole number, at least 0, not 40.0; set --top_k'),
        ({'top_k': [40]}, r'top_k is a whole number, at least 0, not \[40\]; set --top_k'),
        ({'length': 0}, 'length is from 1 to 10000000, not 0; set --length'),
        ({'min_p': 1.5}, 'min_p is from 0 to 1, not 1.5'),
        ({'repetition_penalty': 0}, 'repetition_penalty is from 0.01 to 100, not 0'),
        ({'frequency_penalty': 3}, 'frequency_penalty is from -2 to 2, not 3'),
        ({'early_stopping': 'soon'}, "early_stopping is False, True or never, not 'soon'"),
        ({'stop': ['a', '']}, r"stop is a text or several, none of them empty, not \['a', ''\]"),
        ({'stop': 5}, 'stop is a text or several, none of them empty, not 5'),
        ({'early_stopping': 1}, 'early_stopping is False, True or never, not 1'),
        ({'no_repeat_ngram_size': 65}, 'no_repeat_ngram_size is from 0 to 64, not 65'),
        ({'num_beams': 2, 'logprobs': 3}, 'leave out --logprobs'),
        ({'include_stop': 1}, 'include_stop is True or False, not 1'),
        ({'logit_bias': {'a': 1}}, r"from -100 to 100 by ids of tokens, not \{'a': 1\}"),
        ({'logit_bias': {1: 200}}, r'from -100 to 100 by ids of tokens, not \{1: 200\}'),
        ({'logit_bias': [1]}, r'from -100 to 100 by ids of tokens, not \[1\]'),
        ({'num_beams': 4, 'temperature': 0.5}, 'num_beams 4 draws nothing; leave out --temper'),
        ({'seed': 'x'}, "seed is a whole number, at least 0, not 'x'; set --seed"),
    ],
)
def test_out_of_range(options, sentence):
    with pytest.raises(UserError, match=sentence):
        SamplingOptions(**options)


def test_numbers_of_numpy():
    SamplingOptions(np.int64(3), np.float32(0.7), np.int32(40), np.float64(0.9), np.uint64(1))
    options = SamplingOptions(np.int64(3), temperature=np.float32(0.5), top_p=0)
    assert (type(options.length), type(options.temperature)) == (int, float)


def test_a_length_of_another_type():
    with pytest.raises(UserError, match="length is a whole number, from 1 to 10000000, not 'long'"):
        SamplingOptions('long')


@pytest.mark.parametrize('place', ['models', Path('models')])
def test_a_path_in_the_place_of_top_p(place):
    with pytest.raises(UserError, match="not 'models'; models_dir is the .*: models_dir='models'"):
        check_sampler(1, 1, place, 'float32')


def test_what_a_model_does_not_have():
    hparams = HParams(n_vocab=8, n_ctx=64)
    for options, sentence in (
        ({'keep': 64}, 'keep is from 1 to 63, not 64; set --keep'),
        ({'logprobs': 9}, 'logprobs is from 0 to 8, not 9'),
        ({'logit_bias': {8: 1}}, 'logit_bias names the id 8; they go from 0 to 7'),
    ):
        with pytest.raises(UserError, match=sentence):
            SamplingOptions(**options).check(hparams)
    SamplingOptions(length=1000, keep=63, logprobs=8, logit_bias={7: -100}).check(hparams)


def test_frozen_and_equal():
    options = SamplingOptions(length=3, top_k=40)
    assert options == SamplingOptions(3, top_k=40) and hash(options) is not None
    with pytest.raises(AttributeError):
        options.length = 4
    assert SamplingOptions(temperature=0).greedy and not SamplingOptions().greedy


def test_precisions():
    check_precision('int8')
    with pytest.raises(UserError, match='--precision is float32, bfloat16, float16 or int8, not x'):
        check_precision('x')
    with pytest.raises(UserError, match='--precision is float32 or float16, not int8'):
        check_precision('int8', ('float32', 'float16'))


def test_help_in_the_order_of_the_flags():
    @with_help
    def command(model_name: str = '124M', nsamples: int = 1, top_k: int = 0):
        """
        Do something

        :nsamples=1 : Number of samples,
         or so
        """

    first, *rest = command.__doc__.split('\n:')
    assert first == 'Do something\n'
    assert [entry.partition('=')[0] for entry in rest] == ['model_name', 'nsamples', 'top_k']
    assert rest[1] == 'nsamples=1 : Number of samples,\n or so'
    assert all(len(line) <= 98 for line in command.__doc__.splitlines())


def test_the_options_of_a_sampler_become_flags():
    @with_help
    def command(model_name: str = '124M', top_k: int = 0, **options):
        """
        Do something
        """
        return options

    parameters = inspect.signature(command).parameters
    assert list(parameters)[:4] == ['model_name', 'top_k', 'length', 'temperature']
    assert {*parameters} == {field.name for field in fields(SamplingOptions)} | {'model_name'}
    args, options = cli.parse_flags(
        command, ['--stop', '["a", "b"]', '--logit_bias={"5": -1.5}', '--early_stopping', 'never']
    )
    assert args == ('124M', 0)
    given = SamplingOptions(**options)
    assert given == SamplingOptions(stop=['a', 'b'], logit_bias={5: -1.5}, early_stopping='never')
    assert cli.parse_flags(command, ['--stop', r'\n\t'])[1]['stop'] == '\n\t'
    assert given.stops == ['a', 'b'] and SamplingOptions(stop='a b').stops == ['a b']
    _, options = cli.parse_flags(command, ['--stop', 'a, b', '--early_stopping', '--keep_prompt'])
    assert (options['stop'], options['early_stopping'], options['keep_prompt']) == (
        'a, b',
        True,
        True,
    )
    assert 'no better' in command.__doc__ and ':stop=None : Text that ends' in command.__doc__
