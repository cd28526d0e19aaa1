"""Ctrl-C and SIGTERM, held back while a step or a checkpoint is unfinished."""

import signal


class Interrupts:
    """Ctrl-C and SIGTERM as KeyboardInterrupt, but never in the middle of a `with interrupts:`.

    patient: never at all; that one was asked for is then for others to act on.
    """

    def __init__(self, patient: bool = False):
        self.patient = patient
        self.holding = self.asked = False
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._interrupt)

    def _interrupt(self, number, frame):
        if not self.holding and not self.patient:
            raise KeyboardInterrupt
        self.asked = True

    def __enter__(self):
        self.holding = True

    def __exit__(self, kind, *_):
        self.holding = False
        if self.asked and kind is None and not self.patient:
            self.asked = False
            raise KeyboardInterrupt
