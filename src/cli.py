"""Runs a command: fire reads its flags, a UserError becomes one line and exit code 2."""

import contextlib
import difflib
import functools
import inspect
import io
import os
import sys
import typing
from collections.abc import Iterator

import fire

from .errors import UserError


def run(*commands) -> None:
    """Call the command with the flags on the command line, once all of them are understood.

    The first word says which, where there are several. Exits with 2 after a UserError, 130 after
    Ctrl-C, 141 when the reader of a pipe went away.
    """
    sys.stdin = sys.stdin or open(os.devnull)  # None where it was closed
    sys.stdin.reconfigure(encoding='utf-8', errors='replace')
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(encoding='utf-8', errors='backslashreplace')
    try:
        script, argv, command = os.path.basename(sys.argv[0]), sys.argv[1:], commands[0]
        if len(commands) > 1:
            command = _find_command(script, commands, argv)
            script, argv = f'{script} {argv[0]}', argv[1:]
        args, kwargs = parse_flags(command, argv, script)
        command(*args, **kwargs)
        sys.stdout.flush()
    except UserError as error:
        print(f'{os.path.basename(sys.argv[0])}: {error}', file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        # Python flushes stdout once more as it ends: give it somewhere to go.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)


def _find_command(script: str, commands, argv: list[str]):
    """The command that the first word names."""
    named = {command.__name__: command for command in commands}
    if argv and argv[0] in named:
        return named[argv[0]]
    if not argv or {'--help', '-h'} & set(argv):
        fire.Fire(named, ['--', '--help'], name=script)
    near = difflib.get_close_matches(argv[0], named, 1)
    meant = f' (did you mean {near[0]}?)' if near else ''
    what = f'there is no command {argv[0]}{meant}, but {", ".join(named)}'
    raise UserError(f'{what}; run: python {script} --help')


def parse_flags(command, argv: list[str], script: str = 'SCRIPT') -> tuple[tuple, dict]:
    """What fire would call `command` with; the signature says names, types and defaults.

    Fire calls a function before it finds that a flag is misspelt, so it calls a recorder.
    """
    calls = []

    @functools.wraps(command)
    def recorder(*args, **kwargs):
        calls.append((args, kwargs))

    parsers = {
        name: functools.partial(_parse, name, hint)
        for name, hint in typing.get_type_hints(command).items()
    }
    fire.decorators.SetParseFns(**parsers)(recorder)
    fire.decorators.SetParseFn(str)(recorder)
    if {'--help', '-h'} & set(argv):
        fire.Fire(command, ['--', '--help'], name=script)
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            fire.Fire(recorder, argv)
    except fire.core.FireExit as exit:
        if exit.code == 0:  # one of fire's own flags
            raise
        raise UserError(_explain(command, exit.trace.elements[-1].ErrorAsStr(), script)) from None
    return calls[-1]


def _parse(name: str, hint, text: str):
    """One flag's text as the type that its annotation names: '--top_k=40' -> 40."""
    kinds = typing.get_args(hint) or (hint,)
    if text == 'None' and type(None) in kinds:
        return None
    if bool in kinds:
        if text.lower() in ('true', 'false'):
            return text.lower() == 'true'
        raise UserError(f'--{name} is True or False, not {text!r}')
    kind = kinds[0]
    try:
        return kind(text)
    except ValueError:
        what = 'a whole number' if kind is int else 'a number'
        raise UserError(f'--{name} is {what}, not {text!r}') from None


def _explain(command, error: str, script: str) -> str:
    """Fire's complaint as a sentence, with the flags that may be meant."""
    text, _, value = error.partition(': ')
    parameters = inspect.signature(command).parameters.values()
    flags = [f'--{p.name}' for p in parameters if p.kind is not p.VAR_POSITIONAL]
    near = difflib.get_close_matches(value.split('=')[0], flags, 2) if value[:2] == '--' else []
    meant = f' (did you mean {" or ".join(near)}?)' if near else ''
    return f'{text[:1].lower()}{text[1:]}: {value}{meant}; run: python {script} --help'


def prompts(ask: str) -> Iterator[str]:
    """Yield what is typed after `ask`, with line editing and history, until Ctrl-C or Ctrl-D.

    Empty lines are asked for again.
    """
    with contextlib.suppress(ImportError):  # there is none on Windows
        import readline  # noqa: F401  input() uses it once it is imported
    while True:
        try:
            text = input(ask)
        except (EOFError, KeyboardInterrupt):
            print()
            return
        if text.strip():
            yield text
