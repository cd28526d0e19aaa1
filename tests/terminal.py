"""Scripts at a terminal of their own, as a user runs them."""

import fcntl
import os
import pty
import select
import struct
import sys
import termios
import time


class Terminal:
    """A script on a terminal of its own; `saved` is where its output goes instead."""

    def __init__(self, *argv, cwd, columns=120, saved=None):
        pid, self.fd = pty.fork()
        if pid == 0:
            os.chdir(cwd)
            if saved:
                os.dup2(os.open(saved, os.O_WRONLY | os.O_CREAT), 1)
            # Not what C has as the environment, where readline has put the columns of another.
            os.execve(sys.executable, [sys.executable, *map(str, argv)], os.environ)
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack('4H', 40, columns, 0, 0))
        self.pid, self.text = pid, ''

    def type(self, keys):
        os.write(self.fd, keys.encode())

    def read(self):
        assert select.select([self.fd], [], [], 120)[0], self.text
        try:
            self.text += os.read(self.fd, 4096).decode('utf-8', 'replace')
        except OSError as error:  # Linux says so when the other side is closed
            raise AssertionError(self.text) from error

    def wait_for(self, text, times=1):
        deadline = time.monotonic() + 120
        while self.text.count(text) < times:
            assert time.monotonic() < deadline, self.text
            self.read()

    def end(self):
        try:
            while data := os.read(self.fd, 4096):
                self.text += data.decode('utf-8', 'replace')
        except OSError:  # closed
            pass
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def pasted(keys):
    """As a terminal that was asked to tells of it."""
    return f'\x1b[200~{keys}\x1b[201~'
