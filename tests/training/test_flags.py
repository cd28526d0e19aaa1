import math

import pytest

from gpt2.errors import UserError
from gpt2.training.flags import check_flags
from jobs import default_flags


def test_the_defaults_are_in_their_ranges():
    check_flags(default_flags(dataset='a.txt'))


@pytest.mark.parametrize(
    'flags, sentence',
    [
        ({'optimizer': 'adagrad'}, '--optimizer is adam or sgd, not adagrad'),
        ({'precision': 'int8'}, '--precision is float32, bfloat16 or float16, not int8'),
        ({'context_length': 1}, '--context_length is a number from 2 up, not 1'),
        ({'save_every': -1}, '--save_every is a number from 0 up, not -1'),
        ({'learning_rate': math.inf}, '--learning_rate is a number from 0 up, not inf'),
        ({'clip_norm': math.nan}, '--clip_norm is a number from 0 up, not nan'),
        ({'top_p': 1.5}, '--top_p is a share from 0 to 1, not 1.5'),
        ({'dropout': 1}, '--dropout 1 leaves nothing; set it below 1'),
        ({'seed': 2**63}, '--seed is below 2[*][*]63, not 9223372036854775808'),
        *(
            ({name: 0}, f'--{name} is a number from 1 up, not 0')
            for name in (
                *('batch_size', 'accumulate_gradients', 'sample_length', 'sample_num'),
                *('max_steps', 'val_batch_size', 'val_batch_count', 'keep_checkpoints'),
            )
        ),
    ],
)
def test_out_of_range(flags, sentence):
    with pytest.raises(UserError, match=f'^{sentence}$'):
        check_flags(default_flags(dataset='a.txt', **flags))
