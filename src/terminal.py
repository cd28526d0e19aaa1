"""The samplers' side of a terminal or a pipe: prompts come in, samples go out."""

import contextlib
import itertools
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence

from .errors import UserError
from .options import SamplingOptions

QUOTES = '"""'


def prompts(
    ask: str | Sequence[str], obey: Callable[[str], str | None] | None = None
) -> Iterator[str]:
    """Yield what is typed after `ask`, with line editing and history, until Ctrl-C or Ctrl-D.

    Several to ask come one after another, again and again. Empty lines are asked for again. After
    a line that begins with three quotes all lines are one prompt, up to the next three quotes; so
    are several lines that are pasted. obey: what is done with a line that begins with a colon, at
    a terminal; it returns what to show, None to end.
    """
    history, typed = _history(), sys.stdin.isatty()
    asks = itertools.cycle([ask] if isinstance(ask, str) else ask)
    asked = next(asks)
    while True:
        try:
            whole = text = _read(asked)
            if text.startswith(QUOTES):
                text = text.removeprefix(QUOTES)
                with contextlib.suppress(EOFError):
                    while QUOTES not in text:
                        text += '\n' + input()
                whole, text = QUOTES + text, text.partition(QUOTES)[0]
        except (EOFError, KeyboardInterrupt):
            print(file=screen())
            return
        if history and text.strip():
            history.add(whole)
        if obey and typed and whole.startswith(':'):
            try:
                shown = obey(text)
            except UserError as error:
                print(error, file=sys.stderr)
                continue
            if shown is None:
                return
            print(shown, file=screen())
        elif text.strip():
            asked = next(asks)
            yield text


def _history():
    """A History, where somebody types."""
    if sys.stdin.isatty() and sys.stdout.isatty():
        with contextlib.suppress(ImportError):  # Windows has no readline
            from .history import History

            return History()
    return None


def _read(ask: str) -> str:
    """A line; what is pasted may be several, the last of which ends as a typed one would."""
    if screen() is sys.stdout:
        return input(ask).removesuffix('\n')
    print(ask, end='', file=sys.stderr, flush=True)
    return input()


def screen():
    """Where what is no sample is shown: stdout, unless somebody types and it goes elsewhere."""
    return sys.stderr if sys.stdin.isatty() and not sys.stdout.isatty() else sys.stdout


def print_samples(model, context, options: SamplingOptions, nsamples: int, batch_size: int) -> None:
    """Print samples that continue a context, without end for 0; at a terminal, where they are
    made one by one, as they come."""
    from . import completion

    one_by_one = options.num_beams == 1 and 1 in (nsamples, batch_size)
    if not (one_by_one and sys.stdout.isatty()):
        samples = completion.samples(model, context, options, nsamples, batch_size)
        for number, sample in enumerate(samples, start=1):
            print_title(number)
            print(sample.text, flush=True)
        return
    for row in range(nsamples) if nsamples else itertools.count():
        pieces = completion.stream(model, [context], options, numbers=[row])
        for place, [(_, new)] in enumerate(pieces):
            if place == 0:
                print_title(row + 1)
            print(new, end='', flush=True)
        print()


def print_title(number: int) -> None:
    """The line before a sample; 40 signs on each side, but fewer on a narrow terminal."""
    title = f' SAMPLE {number} '
    print(title.center(width(len(title) + 80), '='))


def print_end() -> None:
    """The line after all samples of a prompt."""
    print('=' * width(80))


def width(most: int) -> int:
    """So many columns, or as many as the terminal has."""
    return min(most, shutil.get_terminal_size().columns) if sys.stdout.isatty() else most
