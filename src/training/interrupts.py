"""Ctrl-C, SIGTERM and a closed terminal, held back while a step or a checkpoint is unfinished."""

import contextlib
import signal
from collections.abc import Iterator

from ..errors import UserError

SIGNALS = (signal.SIGINT, signal.SIGTERM)
HANG_UP = getattr(signal, 'SIGHUP', None)  # there is none on Windows


class Interrupts:
    """Signals as KeyboardInterrupt, but never in the middle of a `with interrupts:`.

    Nor a second one before the next of these is left: a closed terminal often sends two, and the
    first has the run saved.
    patient: never at all; that one was asked for is then for others to act on.
    """

    def __init__(self, patient: bool = False):
        self.patient = patient
        self.holding = self.asked = self.raised = False
        for number in SIGNALS:
            signal.signal(number, self.ask)
        if HANG_UP and signal.getsignal(HANG_UP) != signal.SIG_IGN:  # which nohup asks for
            signal.signal(HANG_UP, self.ask)

    def ask(self, *_) -> None:
        """Stop, as soon as nothing is unfinished."""
        if self.holding or self.patient:
            self.asked = True
        else:
            self.holding = self.raised = True
            raise KeyboardInterrupt

    @contextlib.contextmanager
    def heeded(self) -> Iterator[None]:
        """What is inside ends at an interrupt, also where TensorFlow, which met it while it traced,
        made another error of it."""
        try:
            yield
        except KeyboardInterrupt:
            pass
        except Exception as error:
            if not self.raised or isinstance(error, UserError):
                raise

    def __enter__(self):
        self.holding = True

    def __exit__(self, kind, *_):
        self.holding = False
        if self.asked and kind is None and not self.patient:
            self.asked, self.holding = False, True
            raise KeyboardInterrupt
