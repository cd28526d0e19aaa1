"""The flags of train.py: their ranges, and those with which a run goes on. No TensorFlow."""

import functools
import inspect
import math
import numbers
import os
import typing
from collections.abc import Callable, Collection
from types import SimpleNamespace

from ..errors import UserError
from ..options import MOST_ROWS, TYPES, check_most, check_precision, is_number
from .shapes import SHAPE

TRAINED_IN = ('float32', 'bfloat16', 'float16')
LONGEST_NAME = 200  # bytes of a folder's name: files beside it have longer ones
LOWEST = {'context_length': 2} | dict.fromkeys(
    (
        *('batch_size', 'accumulate_gradients', 'sample_length', 'sample_num', 'max_steps'),
        *('val_batch_size', 'val_batch_count', 'keep_checkpoints', 'epochs'),
    ),
    1,
)
SHARES = ('noise', 'dropout', 'top_p', 'head_dropout', 'warmup', 'beta1', 'beta2')
# Of a run that goes on: what the command line alone says, what the run alone says, and what goes
# with the dataset.
HERE = ('run_name', 'restore_from', 'max_steps', 'dry_run')
ROWS = ('template', 'loss_on', 'special_tokens')  # what is learnt from rows
STAYS = ('model_name', 'seed', 'kind', 'head_bias', 'patterns', *ROWS)  # and is said to
FIXED = (*STAYS, 'models_dir', 'shape', *SHAPE)
READING = ('combine', 'encoding', 'column')


def check_flags(flags) -> None:
    """Raise UserError for the first flag that is out of its range."""
    if flags.optimizer not in ('adam', 'sgd'):
        raise UserError(f'--optimizer is adam or sgd, not {flags.optimizer}')
    check_precision(flags.precision, TRAINED_IN)
    if vars(flags).get('cut') not in (None, 'left', 'right'):
        raise UserError(f'--cut is left or right, not {flags.cut}')
    if len(os.fsencode(flags.run_name)) > LONGEST_NAME:
        raise UserError(f'--run_name has more than {LONGEST_NAME} bytes; set a shorter one')
    for name, value in vars(flags).items():
        lowest = LOWEST.get(name, 0)
        if isinstance(value, int | float) and not lowest <= value < math.inf:
            raise UserError(f'--{name} is a number from {lowest} up, not {value}')
    for name in SHARES:
        if vars(flags).get(name, 0) > 1:
            raise UserError(f'--{name} is a share from 0 to 1, not {getattr(flags, name)}')
    rows = flags.batch_size * flags.accumulate_gradients
    check_most('batch_size times --accumulate_gradients', rows, MOST_ROWS)
    check_most('val_batch_size', vars(flags).get('val_batch_size', 1), MOST_ROWS)
    for name in ('dropout', 'head_dropout', 'beta1', 'beta2'):
        if vars(flags).get(name) == 1:
            raise UserError(f'--{name} 1 leaves nothing; set it below 1')
    if flags.seed is not None and flags.seed >= 2**63:
        raise UserError(f'--seed is below 2**63, not {flags.seed}')


def typed(name: str, value, hint):
    """What Python gives for a flag, as the type that its annotation names: a path as text, NumPy's
    numbers as Python's. Raises UserError for what is of another type.

    >>> typed('batch_size', np.int64(2), int), typed('dataset', Path('a.txt'), str | None)
    (2, 'a.txt')
    """
    kinds = typing.get_args(hint) or (hint,)
    if value is None and type(None) in kinds or bool in kinds and isinstance(value, bool):
        return value
    if str in kinds and isinstance(value, str | os.PathLike):
        return os.fspath(value)
    for kind, numeral in ((int, numbers.Integral), (float, numbers.Real)):
        if kind in kinds and is_number(value, numeral):
            return kind(value)
    what = next(text for kind, text in TYPES.items() if kind in kinds)
    raise UserError(f'--{name} is {what}, not {value!r:.60}')


def tells_given(command: Callable) -> Callable:
    """`command` without its parameter `given`, which gets the names of the flags that are given.

    One that is given its default is given, too; one that is given None, and has a type without
    it, is left out. Raises UserError for a value of another type than its annotation names.
    """
    hints = typing.get_type_hints(command)
    parameters = dict(inspect.signature(command).parameters)
    del parameters['given']
    signature = inspect.Signature(list(parameters.values()))

    @functools.wraps(command)
    def told(*args, **kwargs):
        values = {
            name: typed(name, value, hints[name])
            for name, value in signature.bind(*args, **kwargs).arguments.items()
            if value is not None or type(None) in typing.get_args(hints[name])
        }
        return command(**values, given=frozenset(values))

    told.__signature__ = signature
    return told


def flags_of_run(
    flags: SimpleNamespace, given: Collection[str], facts: dict, say: Callable[[str], None]
) -> SimpleNamespace:
    """The flags with which a run goes on: its own, of `facts`, but for those that are given.

    say: is told each that is not as it was. How the dataset is read goes with the dataset.
    """
    before = dict.fromkeys(ROWS) | facts['flags']  # earlier versions had none of these
    own = {name: value for name, value in before.items() if name in vars(flags)}
    own |= {'seed': facts['seed']}
    asked = {name: value for name, value in vars(flags).items() if name in given}
    if 'dataset' in asked and asked['dataset'] != own.get('dataset'):
        asked |= {name: getattr(flags, name) for name in READING}
    for name, value in asked.items():
        if name in HERE or name not in own or value == own[name]:
            continue
        if name not in FIXED:
            say(f'{name} {own[name]} -> {value}')
        elif name in STAYS:
            say(f"{name} stays {own[name]}, the run's own")
    mine = {name: value for name, value in asked.items() if name not in FIXED or name not in own}
    here = {name: value for name, value in vars(flags).items() if name in HERE}
    return SimpleNamespace(**vars(flags) | own | mine | here)
