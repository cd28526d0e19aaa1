"""A completion that is asked for, checked: what is wrong is told as the API tells it.

No TensorFlow.
"""

import dataclasses
from collections.abc import Callable

from ..encoder import END_OF_TEXT, Encoder
from ..hparams import HParams
from ..options import SamplingOptions

MOST_TEXTS = 128  # of one request
MOST_STOPS = 64


class ApiError(Exception):
    """An answer that is an error: {'error': {message, type, param, code}} with a status."""

    def __init__(
        self,
        message: str,
        status: int = 400,
        param: str | None = None,
        code: str | None = None,
        type: str = 'invalid_request_error',
    ):
        super().__init__(message)
        self.status = status
        self.body = {'error': {'message': message, 'type': type, 'param': param, 'code': code}}


def number(low: float, high: float) -> Callable:
    """A check of a field that is a number from low to high: 0.5, 1, not True."""

    def check(name, value):
        if type(value) not in (int, float) or not low <= value <= high:
            what = f'{name} is a number from {low} to {high}, not {short(value)}'
            raise ApiError(what, param=name)
        return float(value)

    return check


def whole(low: int, high: int) -> Callable:
    """A check of a field that is a whole number from low to high: 1, not 1.5, not True."""

    def check(name, value):
        if type(value) is not int or not low <= value <= high:
            what = f'{name} is a whole number from {low} to {high}, not {short(value)}'
            raise ApiError(what, param=name)
        return value

    return check


def flag(name, value) -> bool:
    if type(value) is not bool:
        raise ApiError(f'{name} is true or false, not {short(value)}', param=name)
    return value


def string(name, value) -> str:
    if type(value) is not str:
        raise ApiError(f'{name} is a string, not {short(value)}', param=name)
    return value


def stops(name, value) -> list[str]:
    """'a' -> ['a']; empty ones, which some clients send, stop nothing."""
    values = [value] if type(value) is str else value
    if type(values) is not list or not all(type(stop) is str for stop in values):
        raise ApiError(f'stop is a string or a list of strings, not {short(value)}', param=name)
    if len(values) > MOST_STOPS:
        raise ApiError(f'stop has {len(values)} strings; {MOST_STOPS} are the most', param=name)
    return [stop for stop in values if stop]


def biases(name, value) -> dict[int, float]:
    """{'50256': -100} -> {50256: -100.0}."""
    if type(value) is not dict or not all(key.isascii() and key.isdigit() for key in value):
        what = 'logit_bias is biases by the ids of tokens, as in {"50256": -100}, not '
        raise ApiError(what + short(value), param=name)
    check = number(-100, 100)
    return {int(key[:20]): check(f'logit_bias.{key[:20]}', bias) for key, bias in value.items()}


def stream_options(name, value) -> dict:
    if type(value) is not dict:
        raise ApiError(f'stream_options is an object, not {short(value)}', param=name)
    flag('stream_options.include_usage', value.get('include_usage', False))
    return value


MOST = 2**31 - 1
FIELDS = {
    'model': (None, string),
    'max_tokens': (16, whole(0, MOST)),
    'n': (1, whole(1, MOST_TEXTS)),
    'best_of': (None, whole(1, MOST_TEXTS)),
    'temperature': (1.0, number(0, 100)),
    'top_p': (1.0, number(0, 1)),
    'stream': (False, flag),
    'stream_options': (None, stream_options),
    'logprobs': (None, whole(0, 5)),
    'echo': (False, flag),
    'stop': ([], stops),
    'presence_penalty': (0.0, number(-2, 2)),
    'frequency_penalty': (0.0, number(-2, 2)),
    'logit_bias': (None, biases),
    'seed': (None, whole(-(2**63), 2**64 - 1)),
    'user': (None, string),
    'top_k': (0, whole(-1, MOST)),  # -1 and 0: all
    'min_p': (0.0, number(0, 1)),
    'repetition_penalty': (1.0, number(0.01, 100)),
    'ignore_eos': (False, flag),
    'min_tokens': (0, whole(0, MOST)),
    'include_stop_str_in_output': (False, flag),
}


@dataclasses.dataclass(frozen=True)
class Asked:
    """A completion that can be made: n texts of each prompt, the most probable of best_of.

    prompts: ids. options: of each text; their `length` None stands for 0 tokens. logprobs: None, or
    how many alternatives are told. min_tokens: before so many nothing ends a text.
    """

    prompts: list[list[int]]
    options: SamplingOptions
    n: int
    best_of: int
    logprobs: int | None
    echo: bool
    stream: bool
    include_usage: bool
    min_tokens: int


def read(body, enc: Encoder, hparams: HParams, slide: bool = False) -> Asked:
    """Check the body of a request, and encode its prompts; raises ApiError.

    Unknown fields are left alone, as is what is null: it has its default.
    """
    found = read_fields(body)
    if body.get('suffix') is not None:
        raise ApiError('GPT-2 writes no text before a suffix; leave it out', param='suffix')
    best_of = found['n'] if found['best_of'] is None else found['best_of']
    if best_of < found['n']:
        raise ApiError(f'best_of is at least n, {found["n"]}, not {best_of}', param='best_of')
    if found['stream'] and best_of > found['n']:
        raise ApiError('which text is best is known at the end; leave out stream', param='best_of')
    if found['stream_options'] and not found['stream']:
        raise ApiError('stream_options go with stream', param='stream_options')
    if found['max_tokens'] == 0 and not found['echo']:
        raise ApiError('max_tokens is at least 1, unless echo is true', param='max_tokens')
    if found['min_tokens'] > found['max_tokens']:
        raise ApiError('min_tokens is more than max_tokens', param='min_tokens')
    for token in found['logit_bias'] or {}:
        if token >= hparams.n_vocab:
            what = f'logit_bias names the id {token}; the last one is {hparams.n_vocab - 1}'
            raise ApiError(what, param='logit_bias')
    prompts = read_prompts(body.get('prompt'), enc, hparams)
    if len(prompts) * best_of > MOST_TEXTS:
        what = f'{len(prompts)} prompts of {best_of} texts each are more than {MOST_TEXTS}'
        raise ApiError(f'{what} in one request; send several', param='prompt')
    check_lengths(prompts, found['max_tokens'], hparams.n_ctx, slide)
    return Asked(
        prompts=prompts,
        options=options_of(found),
        n=found['n'],
        best_of=best_of,
        logprobs=found['logprobs'],
        echo=found['echo'],
        stream=found['stream'],
        include_usage=bool((found['stream_options'] or {}).get('include_usage')),
        min_tokens=found['min_tokens'],
    )


def read_fields(body) -> dict:
    """The fields by their names, checked one by one."""
    if type(body) is not dict:
        raise ApiError(f'the body is a JSON object, not {short(body)}')
    if body.get('model') is None:
        raise ApiError('you must provide a model', param='model')
    return {
        name: default if body.get(name) is None else check(name, body[name])
        for name, (default, check) in FIELDS.items()
    }


def options_of(found: dict) -> SamplingOptions:
    ends = [] if found['ignore_eos'] else [END_OF_TEXT]
    alike = ('top_p', 'min_p', 'repetition_penalty', 'frequency_penalty', 'presence_penalty')
    return SamplingOptions(
        **{name: found[name] for name in (*alike, 'temperature', 'logit_bias')},
        length=found['max_tokens'] or None,
        top_k=max(0, found['top_k']),
        seed=None if found['seed'] is None else found['seed'] % 2**64,
        stop=[*found['stop'], *ends],
        include_stop=found['include_stop_str_in_output'],
        logprobs=found['logprobs'] or 0,
    )


def read_prompts(prompt, enc: Encoder, hparams: HParams) -> list[list[int]]:
    """The ids of each prompt, of one or several, as strings or ids; the end of text for none."""
    if prompt is None or prompt == []:
        prompt = ''
    if type(prompt) is str or (type(prompt) is list and all(type(x) is int for x in prompt)):
        prompt = [prompt]
    if type(prompt) is not list:
        what = f'prompt is a string, ids of tokens, or a list of such, not {short(prompt)}'
        raise ApiError(what, param='prompt')
    if len(prompt) > MOST_TEXTS:
        what = f'{len(prompt)} prompts are more than {MOST_TEXTS} in one request; send several'
        raise ApiError(what, param='prompt')
    return [read_prompt(one, enc, hparams) for one in prompt]


def read_prompt(prompt, enc: Encoder, hparams: HParams) -> list[int]:
    if type(prompt) is str:
        longest = max(map(len, enc.decoder.values())) * hparams.n_ctx
        if len(prompt) > longest:  # not worth encoding
            raise too_long(f'a prompt of {len(prompt):,} characters', hparams.n_ctx)
        return encode(prompt, enc) or [enc.end_of_text]
    if type(prompt) is not list or not all(type(token) is int for token in prompt):
        what = f'prompt is a string, ids of tokens, or a list of such, not with {short(prompt)}'
        raise ApiError(what, param='prompt')
    if wrong := [token for token in prompt if not 0 <= token < hparams.n_vocab]:
        what = f'prompt has the id {short(wrong[0])}; they go from 0 to {hparams.n_vocab - 1}'
        raise ApiError(what, param='prompt')
    return prompt or [enc.end_of_text]


def encode(text: str, enc: Encoder) -> list[int]:
    """The ids of a text in which <|endoftext|> is that token; raises ApiError."""
    try:
        first, *rest = map(enc.encode, text.split(END_OF_TEXT))
    except ValueError as error:  # half of a UTF-16 pair
        raise ApiError(str(error), param='prompt') from None
    return first + [i for ids in rest for i in (enc.end_of_text, *ids)]


def check_lengths(prompts, max_tokens: int, n_ctx: int, slide: bool) -> None:
    """Raise ApiError for what does not fit into n_ctx; the last token need not be read."""
    n = max(map(len, prompts))
    if n > n_ctx:
        raise too_long(f'a prompt of {n} tokens', n_ctx)
    if slide:
        if max_tokens > MOST_SLIDING * n_ctx:
            what = f'max_tokens is at most {MOST_SLIDING * n_ctx}, not {max_tokens}'
            raise ApiError(what, param='max_tokens')
    elif n + max_tokens > n_ctx + 1:
        what = f'{n} tokens in the prompt and max_tokens {max_tokens}'
        room = f'; after this prompt {n_ctx + 1 - n} tokens fit'
        raise too_long(what, n_ctx, room, 'max_tokens')


MOST_SLIDING = 64  # contexts that a text may have, where it slides


def too_long(what: str, n_ctx: int, room: str = '', param: str = 'prompt') -> ApiError:
    message = f"this model's maximum context length is {n_ctx} tokens, but there are {what}{room}"
    return ApiError(message, param=param, code='context_length_exceeded')


def short(value) -> str:
    """A value as it is shown in an error: at most 60 signs of it."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # a number of more than 4,300 digits
        text = 'a number of very many digits'
    return text if len(text) <= 60 else f'{text[:57]}...'
