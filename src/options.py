"""What a sampler may be asked for, and how scripts explain it. No TensorFlow."""

import dataclasses
import inspect
import math
import numbers
import os
import textwrap
import typing
from collections.abc import Sequence

import numpy as np

from . import usage
from .errors import UserError
from .hparams import HParams

PRECISIONS = ('float32', 'bfloat16', 'float16', 'int8')
# More rows side by side than any machine has memory for.
MOST_ROWS = 2**16
TYPES = {int: 'a whole number', float: 'a number', bool: 'True or False', str: 'text'}
# What mends too little memory for a sampler.
LESS_MEMORY = 'set a lower --batch_size or --length, or --precision bfloat16'

# Flag: its help, the same in every script that has it; those of SamplingOptions stand there.
HELP = {
    'model_name': "String, which model to use (124M, 355M, 774M, 1558M, a folder's name or path)",
    'batch_size': 'Number of samples made side by side (only affects speed/memory)',
    'models_dir': 'Path to the parent folder of the model folders',
    'precision': 'Type of the weights: float32, bfloat16, float16 or int8',
    'output_path': 'Path to a file for the result as json',
}


def option(default, help: str, low=None, high=None):
    """A field of SamplingOptions: its default, the flag's help, and the range of a number."""
    return dataclasses.field(default=default, metadata={'help': help, 'low': low, 'high': high})


@dataclasses.dataclass(frozen=True)
class SamplingOptions:
    """How tokens are chosen. Raises UserError for the first option that is out of its range.

    `python interactive_conditional_samples.py --help` tells of each, docs/sampling.md more.

    >>> SamplingOptions(length=40, top_k=40).greedy
    False
    """

    length: int | None = option(None, 'Number of tokens in generated text', 1, 10**7)
    temperature: float = option(
        1,
        'Float value controlling randomness in boltzmann distribution. Lower temperature results '
        'in less random completions. As the temperature approaches zero, the model becomes '
        'deterministic and repetitive, at 0 it always takes the most probable token. Higher '
        'temperature results in more random completions.',
        0,
    )
    top_k: int = option(
        0,
        'Integer value controlling diversity. 1 means only 1 word is considered for each step '
        '(token), resulting in deterministic completions, while 40 means 40 words are considered '
        'at each step. 0 (default) is a special setting meaning no restrictions. 40 generally is '
        'a good value.',
        0,
    )
    top_p: float = option(
        1,
        'Float value from 0 to 1, nucleus sampling: only the most probable tokens, of this '
        'probability in all, are considered at each step. 1 (default) means no restrictions.',
        0,
        1,
    )
    seed: int | None = option(
        None, 'Integer seed for random number generators, fix seed to reproduce results', 0
    )
    min_p: float = option(
        0, 'Only tokens at least so many times as probable as the most probable one', 0, 1
    )
    typical_p: float = option(
        1,
        'Only the tokens whose surprise is nearest to the mean surprise, of this probability in '
        'all; 1 means no restrictions',
        0,
        1,
    )
    repetition_penalty: float = option(
        1, 'Above 1, makes tokens of the prompt and of the sample less probable', 0.01, 100
    )
    frequency_penalty: float = option(
        0, "Lowers a token's logit by this for each time that it is in the sample", -2, 2
    )
    presence_penalty: float = option(
        0, "Lowers a token's logit by this once it is in the sample", -2, 2
    )
    no_repeat_ngram_size: int = option(
        0,
        'No so many tokens in a row come twice, in the prompt and the sample; 0 allows all',
        0,
        64,
    )
    logit_bias: dict | None = option(
        None, 'What is added to the logits of some tokens, by their ids, as in {"11": -100}'
    )
    num_beams: int = option(
        1, 'Above 1, searches for the most probable text with so many beams; draws nothing', 1, 64
    )
    length_penalty: float = option(
        1, 'A beam counts its log-probability over its length to this power', -4, 4
    )
    early_stopping: bool | str = option(
        False,
        'When beams stop: True once so many are finished as there are beams, False once no better '
        'one is likely, never once none is possible',
    )
    stop: list | None = option(
        None,
        'Text that ends a sample, \\n for a new line in it, or a JSON list of some, as in '
        '["\\n", "<|endoftext|>"]; is left out of it',
    )
    include_stop: bool = option(False, 'Leave the stop in the sample')
    keep: int | None = option(
        None,
        'Once the context is full, how many of the last tokens are read again to go on, if None '
        '(default), half of the context',
        1,
    )
    keep_prompt: bool = option(
        False, "Then keep the prompt's beginning, too, as far as half of what is left has room"
    )
    logprobs: int = option(
        0, 'With output_path, tell so many of the most probable tokens at each place, as `best`', 0
    )

    def __post_init__(self):
        for field in dataclasses.fields(self):
            value, kinds = getattr(self, field.name), typing.get_args(field.type) or (field.type,)
            if value is None and type(None) in kinds:
                continue
            if field.metadata['low'] is not None:
                kind = numbers.Integral if int in kinds else numbers.Real
                check_range(field.name, value, field.metadata['low'], field.metadata['high'], kind)
                plain = int(value) if kind is numbers.Integral else float(value)
                object.__setattr__(self, field.name, plain)  # what NumPy has as a number
            elif kinds == (bool,) and not isinstance(value, bool):
                raise UserError(f'{field.name} is True or False, not {value!r}')
        if not isinstance(self.early_stopping, bool) and self.early_stopping != 'never':
            raise UserError(f'early_stopping is False, True or never, not {self.early_stopping!r}')
        known = self.stop is None or isinstance(self.stop, str | list | tuple)
        if not known or not all(isinstance(stop, str) and stop for stop in self.stops):
            raise UserError(f'stop is a text or several, none of them empty, not {self.stop!r}')
        bias = self.logit_bias or {}
        if not isinstance(bias, dict) or not all(map(is_bias, bias.items())):
            raise UserError(
                f'logit_bias is numbers from -100 to 100 by ids of tokens, not {bias!r}'
            )
        if self.logit_bias is not None:
            plain = {int(token): float(value) for token, value in bias.items()}
            object.__setattr__(self, 'logit_bias', plain)
        drawn = [name for name in DRAWING if getattr(self, name) != default(name)]
        if self.num_beams > 1 and drawn:
            flags = ', '.join(f'--{name}' for name in drawn)
            raise UserError(f'num_beams {self.num_beams} draws nothing; leave out {flags}')

    @property
    def greedy(self) -> bool:
        return self.temperature < 1e-6  # below, the logits overflow

    @property
    def stops(self) -> list[str]:
        """The texts that end a sample."""
        return [self.stop] if isinstance(self.stop, str) else [*(self.stop or [])]

    def check(self, hparams: HParams) -> None:
        """Raise UserError for what is out of range for a model of this shape."""
        if self.keep is not None:
            check_range('keep', self.keep, 1, hparams.n_ctx - 1)
        check_range('logprobs', self.logprobs, 0, hparams.n_vocab)
        for token in self.logit_bias or {}:
            if not 0 <= token < hparams.n_vocab:
                last = hparams.n_vocab - 1
                raise UserError(f'logit_bias names the id {token}; they go from 0 to {last}')


# What stands together in the help of a sampler; the others stand before.
GROUPS = {
    'Drawing': ('temperature', 'top_k', 'top_p', 'min_p', 'typical_p'),
    'Penalties': (
        *('repetition_penalty', 'frequency_penalty', 'presence_penalty'),
        *('no_repeat_ngram_size', 'logit_bias'),
    ),
    'Beams': ('num_beams', 'length_penalty', 'early_stopping'),
    'Where a sample ends': ('stop', 'include_stop'),
    'Beyond the context': ('keep', 'keep_prompt'),
}
DRAWING = (*GROUPS['Drawing'], *GROUPS['Beyond the context'], 'logprobs')


def default(name: str):
    """Of a sampling option: 'top_p' -> 1."""
    return getattr(SamplingOptions, name)


def is_bias(item) -> bool:
    """Whether (id, bias) are those that a logit may have."""
    token, bias = item
    is_id = is_number(token, numbers.Integral)
    return is_id and isinstance(bias, numbers.Real) and -100 <= bias <= 100


def check_sampler(nsamples: int, batch_size: int, top_p: float, precision: str) -> None:
    """Raise UserError for what both samplers are asked for, beside SamplingOptions."""
    check_range('nsamples', nsamples, 0)
    check_range('batch_size', batch_size, 1)
    check_most('batch_size', batch_size, MOST_ROWS)
    check_precision(precision)
    if isinstance(top_p, str | os.PathLike):  # as the original had it, before there was a top_p
        raise UserError(
            f'top_p is a number from 0 to 1, not {str(top_p)!r}; models_dir is the ninth '
            f'argument: models_dir={str(top_p)!r}'
        )


def check_most(name: str, value: int, most: int) -> None:
    """Raise UserError for more than any machine can do, before its memory runs out."""
    if value > most:
        raise UserError(f'--{name} is at most {most}, not {value}; set a smaller number')


def is_number(value, kind) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool)


def check_range(name: str, value, low, high=None, kind=numbers.Integral) -> None:
    """Raise UserError for what is no number of that kind, or is outside low to high."""
    limits = f'at least {low}' if high is None else f'from {low} to {high}'
    mend = f'set --{name} to such a number'
    if not is_number(value, kind):
        what = TYPES[int if kind is numbers.Integral else float]
        raise UserError(f'{name} is {what}, {limits}, not {value!r}; {mend}')
    if not low <= value < math.inf or (high is not None and value > high):
        raise UserError(f'{name} is {limits}, not {value}; {mend}')


def check_context(context, hparams: HParams) -> np.ndarray:
    """int32 [n] of the ids of a context; UserError unless it can be continued."""
    try:
        ids = np.asarray(context)
    except ValueError:  # rows of different lengths
        ids = np.zeros([0, 0])
    if ids.ndim != 1 or (ids.size and ids.dtype.kind not in 'iu'):
        raise UserError(f'a context is a row of ids, as in [15496, 995], not {context!r:.60}')
    n = len(ids)
    if n == 0:
        raise UserError('the context is empty; give at least one token')
    if ids.min() < 0 or ids.max() >= hparams.n_vocab:
        raise UserError(f'the context has ids outside 0 to {hparams.n_vocab - 1}')
    if n > hparams.n_ctx:
        raise UserError(
            f'{n} tokens are more than the {hparams.n_ctx} of the context; shorten the prompt'
        )
    return ids.astype(np.int32)


def check_precision(precision: str, known: Sequence[str] = PRECISIONS) -> None:
    if precision not in known:
        raise UserError(f'--precision is {", ".join(known[:-1])} or {known[-1]}, not {precision}')


def with_help(command):
    """`command` with the help of HELP and SamplingOptions for flags that it does not explain.

    Where its last parameter is **options, those of SamplingOptions that it does not name stand in
    its place, and in the groups that they are in. An entry without a text, as `:seed`, places a
    flag in a group of the docstring's own.
    """
    fields = {field.name: field for field in dataclasses.fields(SamplingOptions)}
    signature = inspect.signature(command)
    parameters = dict(signature.parameters)
    is_sampler = parameters.pop('options', None) is not None
    if is_sampler:
        for name, field in fields.items():
            if name not in parameters:
                parameters[name] = inspect.Parameter(
                    name,
                    inspect.Parameter.KEYWORD_ONLY,
                    default=field.default,
                    annotation=field.type,
                )
        command.__signature__ = signature.replace(parameters=list(parameters.values()))
        command.__annotations__ = {name: p.annotation for name, p in parameters.items()}
    summary, entries = usage.read(command.__doc__)
    helps = {name: field.metadata['help'] for name, field in fields.items()} | HELP
    together = {name: group for group, names in GROUPS.items() for name in names}
    for name, parameter in parameters.items():
        group, entry = entries.get(name, (together.get(name, '') if is_sampler else '', ''))
        if name in helps and not usage.text_of(entry or f':{name}'):
            entry = f':{name}={parameter.default} : {helps[name]}'
            entries[name] = group, textwrap.fill(entry, 98, subsequent_indent=' ')
    lines = [summary, '']
    for group, names in usage.grouped(parameters, entries).items():
        lines += [f'{group}:'] if group and names else []
        lines += [entries[name][1] for name in names if name in entries]
    command.__doc__ = '\n'.join(lines)
    return command
