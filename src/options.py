"""What a sampler may be asked for, and how scripts explain it. No TensorFlow."""

import dataclasses
import inspect
import math
import re
import textwrap

import numpy as np

from .errors import UserError
from .hparams import HParams

PRECISIONS = ('float32', 'bfloat16', 'float16')
# What mends too little memory for a sampler.
LESS_MEMORY = 'set a lower --batch_size or --length, or --precision bfloat16'

# Flag: its help, the same in every script that has it.
HELP = {
    'model_name': "String, which model to use (124M, 355M, 774M, 1558M, or a folder's name)",
    'seed': 'Integer seed for random number generators, fix seed to reproduce results',
    'batch_size': 'Number of samples made side by side (only affects speed/memory)',
    'temperature': (
        'Float value controlling randomness in boltzmann distribution. Lower temperature results '
        'in less random completions. As the temperature approaches zero, the model becomes '
        'deterministic and repetitive, at 0 it always takes the most probable token. Higher '
        'temperature results in more random completions.'
    ),
    'top_k': (
        'Integer value controlling diversity. 1 means only 1 word is considered for each step '
        '(token), resulting in deterministic completions, while 40 means 40 words are considered '
        'at each step. 0 (default) is a special setting meaning no restrictions. 40 generally is '
        'a good value.'
    ),
    'top_p': (
        'Float value from 0 to 1, nucleus sampling: only the most probable tokens, of this '
        'probability in all, are considered at each step. 1 (default) means no restrictions.'
    ),
    'models_dir': 'Path to the parent folder of the model folders',
    'precision': 'Type of the weights: float32, bfloat16 or float16',
    'output_path': 'Path to a file for the result as json',
}


@dataclasses.dataclass(frozen=True)
class SamplingOptions:
    """How tokens are drawn. Raises UserError for the first option that is out of its range.

    length: tokens to draw after each context; None for as many as fit. temperature 0 takes
    the most probable token; top_k 0 and top_p 1 keep all of them. seed: None for any.
    """

    length: int | None = None
    temperature: float = 1
    top_k: int = 0
    top_p: float = 1
    seed: int | None = None

    def __post_init__(self):
        check_range('temperature', self.temperature, 0)
        check_range('top_k', self.top_k, 0)
        check_range('top_p', self.top_p, 0, 1)
        check_range('seed', self.seed, 0)

    @property
    def greedy(self) -> bool:
        return self.temperature < 1e-6  # below, the logits overflow

    def check(self, hparams: HParams) -> None:
        """Raise UserError for a length that is none in the model's context."""
        check_range('length', self.length, 1, hparams.n_ctx)


def check_range(name: str, value, low: float, high: float | None = None) -> None:
    """Raise UserError for a number outside low to high, or not a number; None means unset."""
    if value is None or (low <= value < math.inf and (high is None or value <= high)):
        return
    limits = f'at least {low}' if high is None else f'from {low} to {high}'
    raise UserError(f'{name} is {limits}, not {value}; set --{name} to such a number')


def check_context(context: np.ndarray, length: int, hparams: HParams) -> None:
    """Raise UserError unless `context` [n] can be continued by `length` tokens."""
    n = len(context)
    if n == 0:
        raise UserError('the context is empty; give at least one token')
    if context.min() < 0 or context.max() >= hparams.n_vocab:
        raise UserError(f'the context has ids outside 0 to {hparams.n_vocab - 1}')
    if n > hparams.n_ctx:
        raise UserError(
            f'{n} tokens are more than the {hparams.n_ctx} of the context; shorten the prompt'
        )
    if n + length - 1 > hparams.n_ctx:
        raise UserError(
            f'after {n} tokens the context of {hparams.n_ctx} has no room for {length} more; '
            f'shorten the prompt or set --length to {hparams.n_ctx + 1 - n} or less'
        )


def check_precision(precision: str) -> None:
    if precision not in PRECISIONS:
        raise UserError(f'--precision is float32, bfloat16 or float16, not {precision}')


def with_help(command):
    """`command` with HELP in its docstring for the flags that it does not explain itself."""
    summary, *own = re.split(r'\n(?=:)', inspect.getdoc(command))
    entries = {re.match(r':(\w+)', entry)[1]: entry for entry in own}
    for name, parameter in inspect.signature(command).parameters.items():
        if name in HELP and name not in entries:
            entry = f':{name}={parameter.default} : {HELP[name]}'
            entries[name] = textwrap.fill(entry, 98, subsequent_indent=' ')
    ordered = [entries[name] for name in inspect.signature(command).parameters if name in entries]
    command.__doc__ = '\n'.join([summary, *ordered])
    return command
