import pytest

from gpt2.errors import UserError
from gpt2.hparams import HParams
from gpt2.options import SamplingOptions, check_precision, with_help


@pytest.mark.parametrize(
    'options, sentence',
    [
        ({'temperature': -1}, 'temperature is at least 0, not -1; set --temperature to such'),
        ({'temperature': float('nan')}, 'temperature is at least 0, not nan'),
        ({'temperature': float('inf')}, 'temperature is at least 0, not inf'),
        ({'top_k': -1}, 'top_k is at least 0, not -1'),
        ({'top_p': 1.5}, 'top_p is from 0 to 1, not 1.5'),
        ({'seed': -1}, 'seed is at least 0, not -1'),
    ],
)
def test_out_of_range(options, sentence):
    with pytest.raises(UserError, match=sentence):
        SamplingOptions(**options)


@pytest.mark.parametrize('length', [0, 65])
def test_a_length_that_the_context_does_not_have(length):
    with pytest.raises(UserError, match=f'length is from 1 to 64, not {length}; set --length'):
        SamplingOptions(length=length).check(HParams(n_ctx=64))


def test_frozen_and_equal():
    options = SamplingOptions(length=3, top_k=40)
    assert options == SamplingOptions(3, top_k=40) and hash(options) is not None
    with pytest.raises(AttributeError):
        options.length = 4
    assert SamplingOptions(temperature=0).greedy and not SamplingOptions().greedy


def test_precisions():
    check_precision('bfloat16')
    with pytest.raises(UserError, match='--precision is float32, bfloat16 or float16, not int8'):
        check_precision('int8')


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
