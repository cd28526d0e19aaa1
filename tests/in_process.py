"""Scripts in the process of the tests, where TensorFlow is loaded already."""

import contextlib
import io
import os
import runpy
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import tensorflow as tf

from gpt2 import runtime

# What Python itself does not show.
UNSEEN = (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning)


def run_script(script, args, cwd, input: str = '') -> subprocess.CompletedProcess:
    """What `python script args` does and says; an error that it does not catch is raised."""
    stdin, stdout, stderr = (io.TextIOWrapper(io.BytesIO(), 'utf-8') for _ in range(3))
    stdin.buffer.write(input.encode())
    stdin.buffer.seek(0)
    with contextlib.ExitStack() as stack:
        stack.enter_context(_set_back())
        runtime.said.clear()
        sys.argv = [str(script), *map(str, args)]
        sys.path.insert(0, str(Path(script).parent))
        os.chdir(cwd)
        sys.stdin, sys.stdout, sys.stderr = stdin, stdout, stderr
        warned = stack.enter_context(warnings.catch_warnings(record=True))
        warnings.resetwarnings()
        for kind in UNSEEN:
            warnings.simplefilter('ignore', kind)
        code = _exit_code(script)
    stdout.flush()
    stderr.write(''.join(str(warning.message) for warning in warned))
    stderr.flush()
    texts = (stream.buffer.getvalue().decode() for stream in (stdout, stderr))
    return subprocess.CompletedProcess([script, *args], code, *texts)


def _exit_code(script) -> int:
    try:
        runpy.run_path(str(script), run_name='__main__')
    except SystemExit as end:
        return end.code or 0
    return 0


@contextlib.contextmanager
def _set_back():
    """Sets back what a script changes of its process."""
    environment, folder, path, argv = dict(os.environ), os.getcwd(), sys.path[:], sys.argv
    streams = sys.stdin, sys.stdout, sys.stderr
    handlers = {
        number: signal.getsignal(number)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    }
    tf32 = tf.config.experimental.tensor_float_32_execution_enabled()
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(environment)
        os.chdir(folder)
        sys.path[:], sys.argv = path, argv
        sys.stdin, sys.stdout, sys.stderr = streams
        for number, handler in handlers.items():
            signal.signal(number, handler)
        tf.config.experimental.enable_tensor_float_32_execution(tf32)
