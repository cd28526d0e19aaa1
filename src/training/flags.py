"""The ranges of train.py's flags. No TensorFlow."""

import math

from ..errors import UserError
from ..options import check_precision

LOWEST = {'context_length': 2} | dict.fromkeys(
    (
        *('batch_size', 'accumulate_gradients', 'sample_length', 'sample_num', 'max_steps'),
        *('val_batch_size', 'val_batch_count', 'keep_checkpoints'),
    ),
    1,
)


def check_flags(flags) -> None:
    """Raise UserError for the first flag that is out of its range."""
    if flags.optimizer not in ('adam', 'sgd'):
        raise UserError(f'--optimizer is adam or sgd, not {flags.optimizer}')
    check_precision(flags.precision)
    for name, value in vars(flags).items():
        lowest = LOWEST.get(name, 0)
        if isinstance(value, int | float) and not lowest <= value < math.inf:
            raise UserError(f'--{name} is a number from {lowest} up, not {value}')
    for name in ('noise', 'dropout', 'top_p'):
        if getattr(flags, name) > 1:
            raise UserError(f'--{name} is a share from 0 to 1, not {getattr(flags, name)}')
    if flags.dropout == 1:
        raise UserError('--dropout 1 leaves nothing; set it below 1')
    if flags.seed is not None and flags.seed >= 2**63:
        raise UserError(f'--seed is below 2**63, not {flags.seed}')
