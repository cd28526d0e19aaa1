"""Runs a command: fire reads its flags, a UserError becomes one line and exit code 2."""

import contextlib
import difflib
import functools
import inspect
import io
import itertools
import json
import math
import os
import re
import shutil
import sys
import typing

import fire

from . import usage
from .errors import FULL, UserError, what_mends

FLAG = re.compile(r'--|-[a-zA-Z]')  # how fire tells a flag from a negative number
WHOLE = re.compile(r'[+-]?[0-9]+')
UNTYPED = object()  # what stands for a flag that is left out
NUMBER = re.compile(r'[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?')


def run(*commands) -> None:
    """Call the command with the flags on the command line, once all of them are understood.

    The first word says which, where there are several. Exits with what the command returns, with
    2 after a mistake or what the system refuses, 130 after Ctrl-C, 141 when the reader of a pipe
    went away.
    """
    try:
        _open_streams()
        code = _obey(commands, os.path.basename(sys.argv[0]), sys.argv[1:])
        sys.stdout.flush()
    except UserError as error:
        code = _say(error)
    except KeyboardInterrupt:
        code = 130
        with contextlib.suppress(OSError):
            if sys.stdout.isatty():  # which shows a ^C
                print()
    except BrokenPipeError:
        code = 141
    except OSError as error:
        where = '' if error.filename is None else f'{error.filename}: '
        if error.errno in FULL and not where:  # print() tells no name
            where = 'the output: '
        code = _say(f'{where}{error.strerror or error}; {what_mends(error)}')
    _let_go(sys.stdout)
    _let_go(sys.stderr)
    sys.exit(code)


def _open_streams() -> None:
    """The three streams, in UTF-8; one that was closed reads and writes nothing.

    Its number is taken, so that no file gets it, into which what is meant for it would go.
    """
    for name, mode in (('stdin', 'r'), ('stdout', 'w'), ('stderr', 'w')):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))
        errors = 'replace' if name == 'stdin' else 'backslashreplace'
        getattr(sys, name).reconfigure(encoding='utf-8', errors=errors)


def _say(error) -> int:
    """Print a sentence, on one line whatever it quotes; the exit code."""
    text = ''.join(c if c.isprintable() else ascii(c)[1:-1] for c in str(error))
    with contextlib.suppress(OSError):  # nobody hears it
        print(f'{os.path.basename(sys.argv[0])}: {text}', file=sys.stderr, flush=True)
    return 2


def _let_go(stream) -> None:
    """Give what is left in a stream that cannot be written somewhere to go: Python flushes it
    once more as it ends."""
    try:
        stream.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _obey(commands, script: str, argv: list[str]) -> int | None:
    """Do what the words say, or tell what may be said; the exit code."""
    columns = shutil.get_terminal_size().columns
    named, asked = {command.__name__: command for command in commands}, {'--help', '-h'} & {*argv}
    command = commands[0]
    if len(commands) > 1:
        if not argv or (asked and argv[0] not in named):
            print(usage.overview(commands, script, columns))
            return None
        command = _find_command(script, named, argv[0])
        script, argv = f'{script} {argv[0]}', argv[1:]
    if asked:
        print(usage.page(command, script, columns))
        return None
    typed = bind_flags(command, argv, script)
    return command(*typed.args, **typed.kwargs)


def _find_command(script: str, named: dict, word: str):
    """The command that the first word names."""
    if word in named:
        return named[word]
    near = difflib.get_close_matches(word, named, 1)
    meant = f' (did you mean {near[0]}?)' if near else ''
    what = f'there is no command {word}{meant}, but {", ".join(named)}'
    raise UserError(f'{what}; run: python {script} --help')


def parse_flags(command, argv: list[str], script: str = 'SCRIPT') -> tuple[tuple, dict]:
    """What `command` is called with, its defaults included; the signature says names and types."""
    typed = bind_flags(command, argv, script)
    typed.apply_defaults()
    return typed.args, typed.kwargs


def bind_flags(command, argv: list[str], script: str = 'SCRIPT') -> inspect.BoundArguments:
    """The flags that are typed, without those that are left out; UserError for what is no flag.

    Fire calls a function before it finds that a flag is misspelt, so it calls a recorder.
    """
    calls, signature = [], inspect.signature(command)

    @functools.wraps(command)
    def recorder(*args, **kwargs):
        calls.append((args, kwargs))

    recorder.__signature__ = signature.replace(
        parameters=[
            p if p.default is p.empty else p.replace(default=UNTYPED)
            for p in signature.parameters.values()
        ]
    )
    hints = typing.get_type_hints(command)
    _check_words(argv, hints, script)
    parsers = {name: functools.partial(parse_value, name, hint) for name, hint in hints.items()}
    fire.decorators.SetParseFns(**parsers)(recorder)
    fire.decorators.SetParseFn(functools.partial(parse_value, '', str))(recorder)
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            fire.Fire(recorder, argv)
    except fire.core.FireExit as exit:
        raise UserError(_explain(command, exit.trace.elements[-1].ErrorAsStr(), script)) from None
    args, kwargs = calls[-1]
    typed = signature.bind_partial(*args, **kwargs)
    for name, value in list(typed.arguments.items()):
        if value is UNTYPED:
            del typed.arguments[name]
    return typed


def _check_words(argv: list[str], hints: dict, script: str) -> None:
    """Raise UserError for what fire reads otherwise than it is meant.

    It takes a flag without a value for True, of any type; it has flags of its own behind a --;
    and it goes on to another call behind a -.
    """
    if sum(word.partition('=')[0] == '--stop' for word in argv) > 1:
        raise UserError('--stop is given twice; a JSON list takes several: --stop \'["a", "b"]\'')
    for word, following in itertools.pairwise([*argv, '--']):
        if word in ('-', '--'):
            raise UserError(f'{word} stands for nothing here; run: python {script} --help')
        if '=' in word or not FLAG.match(word) or not FLAG.match(following):
            continue
        name = word.lstrip('-').replace('-', '_')
        for known, hint in hints.items():
            if name in (known, known[0], f'no{known}') and bool not in _kinds(hint):
                raise UserError(f'{word} lacks its value; run: python {script} --help')


def _kinds(hint) -> tuple:
    """The types that an annotation names: int | None -> (int, NoneType)."""
    return typing.get_args(hint) or (hint,)


def parse_value(name: str, hint, text: str):
    """One flag's text as the type that its annotation names: '--top_k=40' -> 40."""
    kinds = _kinds(hint)
    if text == 'None' and type(None) in kinds:
        return None
    if not text:
        raise UserError(f'{f"--{name}" if name else "an argument"} is empty; give it a value')
    if bool in kinds and text.lower() in ('true', 'false'):
        return text.lower() == 'true'
    if list in kinds and text[0] != '[':
        return text.replace('\\n', '\n').replace('\\t', '\t')
    if str in kinds:
        return text
    if bool in kinds:
        raise UserError(f'--{name} is True or False, not {text!r}')
    if list in kinds or dict in kinds:
        return _parse_json(name, text)
    whole = int in kinds
    what = 'a whole number' if whole else 'a number'
    if not (WHOLE if whole else NUMBER).fullmatch(text):
        raise UserError(f'--{name} is {what}, not {text!r}')
    if abs(float(text)) >= (2**64 if whole else math.inf):
        raise UserError(f'--{name} is {what}, but {text} is too large; set a smaller one')
    return int(text) if whole else float(text)


def _parse_json(name: str, text: str):
    """'["a", "b"]' -> ['a', 'b']; '{"50256": -100}' -> {50256: -100}."""
    try:
        found = json.loads(text)
        if not isinstance(found, dict):
            return found
        return {int(key) if key.isdecimal() else key: value for key, value in found.items()}
    except (ValueError, RecursionError) as error:
        raise UserError(f'--{name} is no JSON: {error}; write it as --help shows') from None


def _explain(command, error: str, script: str) -> str:
    """Fire's complaint as a sentence, with the flags that may be meant."""
    text, _, value = error.partition(': ')
    if 'required' in text:  # the name follows, or a set of some
        return f'--{re.search("[a-zA-Z_0-9]+", value)[0]} is missing; run: python {script} --help'
    parameters = inspect.signature(command).parameters.values()
    flags = [f'--{p.name}' for p in parameters if p.kind is not p.VAR_POSITIONAL]
    near = difflib.get_close_matches(value.split('=')[0], flags, 2) if value[:2] == '--' else []
    meant = f' (did you mean {" or ".join(near)}?)' if near else ''
    return f'{text[:1].lower()}{text[1:]}: {value}{meant}; run: python {script} --help'
