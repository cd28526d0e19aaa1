"""Scripts at a terminal of their own, as a user runs them."""

import fcntl
import os
import pty
import struct
import sys
import termios
import time


class Terminal:
    """A script on a terminal of its own."""

    def __init__(self, *argv, **options):
        pid, self.fd = pty.fork()
        if pid == 0:
            os.chdir(options['cwd'])
            os.execv(sys.executable, [sys.executable, *map(str, argv)])
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack('4H', 40, 120, 0, 0))
        self.pid, self.text = pid, ''

    def type(self, keys):
        os.write(self.fd, keys.encode())

    def read(self):
        self.text += os.read(self.fd, 4096).decode('utf-8', 'replace')

    def wait_for(self, text, times=1):
        deadline = time.monotonic() + 120
        while self.text.count(text) < times:
            assert time.monotonic() < deadline, self.text
            self.read()

    def end(self):
        try:
            while data := os.read(self.fd, 4096):
                self.text += data.decode('utf-8', 'replace')
        except OSError:  # Linux says so when the other side is closed
            pass
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
