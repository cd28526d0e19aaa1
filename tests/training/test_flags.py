import inspect
import json
import math
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from gpt2.errors import UserError
from gpt2.training.flags import check_flags, flags_of_run, tells_given
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


@tells_given
def command(dataset: str | None = None, batch_size: int = 1, *, given=frozenset()):
    return dataset, batch_size, set(given)


@tells_given
def typed_command(
    dataset: str | None = None,
    learning_rate: float = 0.1,
    batch_size: int = 1,
    max_steps: int | None = None,
    dry_run: bool = False,
    *,
    given=frozenset(),
):
    values = locals()
    return {name: values[name] for name in given}


def test_what_is_given_is_told_also_where_it_is_the_default():
    assert list(inspect.signature(command).parameters) == ['dataset', 'batch_size']
    assert command() == (None, 1, set())
    assert command(batch_size=1) == (None, 1, {'batch_size'})
    assert command('a', 2) == ('a', 2, {'dataset', 'batch_size'})
    with pytest.raises(TypeError):
        command(given=['dataset'])


@pytest.mark.parametrize(
    'flags, sentence',
    [
        ({'dataset': 5}, '--dataset is text, not 5'),
        ({'learning_rate': 'fast'}, "--learning_rate is a number, not 'fast'"),
        ({'batch_size': 'x'}, "--batch_size is a whole number, not 'x'"),
        ({'batch_size': 1.5}, '--batch_size is a whole number, not 1.5'),
        ({'batch_size': True}, '--batch_size is a whole number, not True'),
        ({'max_steps': 'x'}, "--max_steps is a whole number, not 'x'"),
        ({'dry_run': 1}, '--dry_run is True or False, not 1'),
    ],
)
def test_values_of_another_type(flags, sentence):
    with pytest.raises(UserError, match=f'^{sentence}$'):
        typed_command(**flags)


def test_values_become_those_of_the_command_line():
    flags = {'dataset': Path('a.txt'), 'batch_size': np.int64(2), 'learning_rate': 1}
    values = typed_command(**flags, max_steps=None)
    assert values == {'dataset': 'a.txt', 'batch_size': 2, 'learning_rate': 1.0, 'max_steps': None}
    assert json.dumps(values)  # as a run's state keeps them
    assert typed_command(batch_size=None) == {}  # which is then its default


OWN = {'dataset': 'a.csv', 'column': 'text', 'learning_rate': 5e-4, 'max_steps': 9, 'gone': 1}
OWN |= {'model_name': 'demo', 'seed': None, 'run_name': 'old', 'restore_from': 'scratch'}


@pytest.mark.parametrize(
    'typed, expected, said',
    [
        ({}, {}, []),
        ({'learning_rate': 2e-5}, {'learning_rate': 2e-5}, ['learning_rate 0.0005 -> 2e-05']),
        ({'dataset': 'a.csv'}, {}, []),  # as it was, and so is its column
        ({'dataset': 'b'}, {'dataset': 'b', 'column': None}, ['dataset a.csv -> b', 'column te']),
        ({'dataset': 'b', 'column': 'text'}, {'dataset': 'b'}, ['dataset a.csv -> b']),
        ({'batch_size': 1}, {}, []),  # which runs of earlier versions may not have
        ({'max_steps': 20, 'restore_from': 'run'}, {'max_steps': 20, 'restore_from': 'run'}, []),
        ({'seed': 5}, {}, ["seed stays 7, the run's own"]),
        ({'model_name': '117M'}, {}, ["model_name stays demo, the run's own"]),
        ({'n_ctx': 64}, {'n_ctx': 64}, []),  # which was compared with the model's
    ],
)
def test_a_run_goes_on_with_its_own_flags(typed, expected, said):
    lines, flags = [], default_flags(run_name='new', **typed)
    facts = {'flags': OWN, 'seed': 7}
    found = flags_of_run(flags, typed, facts, lines.append)
    own = {'dataset': 'a.csv', 'column': 'text', 'learning_rate': 5e-4, 'model_name': 'demo'}
    own |= {'seed': 7, 'run_name': 'new'}
    assert vars(found) == vars(default_flags()) | own | expected
    assert len(lines) == len(said) and all(map(str.startswith, lines, said))
    assert flags == SimpleNamespace(**vars(default_flags()) | {'run_name': 'new'} | typed)
