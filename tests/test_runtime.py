"""TensorFlow's start: what it sets, what it says, and what becomes of its complaints."""

import contextlib
import os
import signal
import subprocess
import sys
import textwrap
import time

import pytest
import tensorflow as tf

from gpt2 import compilations, runtime
from gpt2.errors import UserError


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    """What start() sets is set back."""
    monkeypatch.setattr(runtime, 'said', [])
    before = dict(os.environ)
    tf32 = tf.config.experimental.tensor_float_32_execution_enabled()
    yield
    os.environ.clear()
    os.environ.update(before)
    tf.config.experimental.enable_tensor_float_32_execution(tf32)


def test_the_users_own_flags_stay_and_count_more(monkeypatch):
    monkeypatch.setenv('XLA_FLAGS', '--xla_cpu_prefer_vector_width=256')
    monkeypatch.setenv('TF_FORCE_GPU_ALLOW_GROWTH', 'false')
    monkeypatch.setenv('TF_CPP_MIN_LOG_LEVEL', '0')
    runtime.start()
    runtime.start()
    flags = os.environ['XLA_FLAGS'].split()
    assert flags == [*runtime.XLA_FLAGS, '--xla_cpu_prefer_vector_width=256']
    assert os.environ['TF_FORCE_GPU_ALLOW_GROWTH'] == 'false'
    assert os.environ['TF_CPP_MIN_LOG_LEVEL'] == '0'


def test_the_environment_of_lm_eval(monkeypatch):
    for name in ('DISABLE_MULTIPROC', 'TQDM_DISABLE'):
        monkeypatch.delenv(name, raising=False)
    for terminal in (True, False):
        monkeypatch.setattr(sys.stderr, 'isatty', lambda terminal=terminal: terminal)
        runtime.prepare_lm_eval()
        assert os.environ['DISABLE_MULTIPROC'] == '1'
        assert ('TQDM_DISABLE' in os.environ) is not terminal


def test_memory_grows_as_needed(monkeypatch):
    monkeypatch.delenv('TF_FORCE_GPU_ALLOW_GROWTH', raising=False)
    runtime.start()
    assert os.environ['TF_FORCE_GPU_ALLOW_GROWTH'] == 'true'


@pytest.mark.parametrize(
    'error',
    [
        tf.errors.ResourceExhaustedError(None, None, 'OOM when allocating'),
        tf.errors.InternalError(None, None, 'CUDA_ERROR_OUT_OF_MEMORY: out of memory'),
        MemoryError(),
    ],
)
def test_too_little_memory_is_a_sentence(error):
    with pytest.raises(UserError, match='^the memory is too small for this; buy more$'):
        with runtime.explained('buy more'):
            raise error


def test_kept_code_that_does_not_load_is_removed_and_that_is_said(tmp_path, monkeypatch):
    kept, work = tmp_path / 'kept', tmp_path / 'work'
    for folder in (kept, work):
        folder.mkdir()
    (kept / 'code.pb.1234').touch()
    (work / 'code.pb').symlink_to(kept / 'code.pb.1234')
    monkeypatch.setattr(compilations, 'loaded', [work, kept])
    for again in (False, True):
        expected = tf.errors.OpError if again else UserError
        with pytest.raises(expected, match=None if again else 'run the same command again'):
            with runtime.explained('buy more'):
                raise tf.errors.InternalError(None, None, 'no kernel image')
    assert not list(kept.iterdir()) and not list(work.iterdir())


@pytest.mark.parametrize('other', [None, AttributeError('no attribute _type_spec')])
def test_ctrl_c_that_tensorflow_makes_another_error_of_or_loses_interrupts_all_the_same(other):
    with pytest.raises(KeyboardInterrupt):
        with runtime.explained('buy more'):
            with contextlib.suppress(KeyboardInterrupt):
                signal.raise_signal(signal.SIGINT)
            if other:
                raise other
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_handler_of_ctrl_c_stays_and_hears_it():
    heard = []
    signal.signal(signal.SIGINT, lambda *_: heard.append(True))
    try:
        with runtime.explained('buy more'):
            signal.raise_signal(signal.SIGINT)
        assert heard == [True]
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.mark.skipif(sys.platform != 'linux', reason='the C library is another')
def test_what_is_freed_while_sparing_goes_back():
    code = """
        import ctypes, resource
        import numpy as np
        from gpt2 import runtime
        def peak():
            pieces = [np.ones(20 << 20, np.uint8) for _ in range(20)]
            last = pieces.pop()  # holds what is below in the heap, if it is a heap
            del pieces
            with open('/proc/self/statm') as file:
                return int(file.read().split()[1]) * resource.getpagesize() >> 20
        big = np.ones(30 << 20, np.uint8)
        del big  # from now on glibc keeps what is smaller
        kept = peak()
        with runtime.sparing():
            spared = peak()
        print(kept, spared, peak())
    """
    done = subprocess.run(
        [sys.executable, '-c', textwrap.dedent(code)], capture_output=True, text=True, check=True
    )
    kept, spared, again = map(int, done.stdout.split())
    assert kept > 300 > 150 > spared and again > 300


def test_waiting_is_said_at_a_terminal_and_wiped_away(monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, 'isatty', lambda: True)
    with runtime.waiting('Compiling ...', after=0.01):
        time.sleep(0.2)
    assert capsys.readouterr().err == '\r\x1b[KCompiling ...\r' + ' ' * 13 + '\r'
    with runtime.waiting('Compiling ...', after=60):
        pass
    assert capsys.readouterr().err == ''
    monkeypatch.setattr(sys.stderr, 'isatty', lambda: False)
    with runtime.waiting('Compiling ...', after=0):
        time.sleep(0.05)
    assert capsys.readouterr().err == ''


@pytest.mark.parametrize('hidden, said', [('', False), ('0', True)])
def test_a_gpu_that_tensorflow_does_not_see(tmp_path, monkeypatch, capsys, hidden, said):
    monkeypatch.setattr(runtime, 'DRIVER', str(tmp_path))
    monkeypatch.setattr(sys.stderr, 'isatty', lambda: True)
    monkeypatch.setenv('CUDA_VISIBLE_DEVICES', hidden)
    runtime.start()
    assert ('docs/gpu.md' in capsys.readouterr().err) is said


def test_code_is_kept_for_one_kind_of_card(tmp_path, monkeypatch):
    monkeypatch.setattr(compilations, 'NVIDIA', tmp_path)
    assert compilations._cards() == ''
    folders = {compilations._folder('', compilations._cards())}
    for number, model in enumerate(('NVIDIA A100', 'Tesla T4')):
        card = tmp_path / 'gpus' / str(number)
        card.mkdir(parents=True)
        (card / 'information').write_text(f'Model: \t\t {model}\nIRQ:   \t\t 35\n')
        (tmp_path / 'version').write_text('NVRM version: 570.86\n')
        cards = compilations._cards()
        assert model in cards and '570.86' in cards and 'IRQ' not in cards
        folders.add(compilations._folder('', cards))
        folders.add(compilations._folder('--xla_flag', cards))
    assert len(folders) == 5


def test_keras_comes_when_it_is_asked_for():
    program = """
        import sys
        from gpt2 import runtime
        runtime.start()
        assert not [name for name in sys.modules if name.split('.')[0] == 'keras']
        import tensorflow as tf
        from tensorflow.keras import layers
        print(layers.Dense(3)(tf.ones([1, 2])).shape, tf.keras.optimizers.Adam.__name__)
    """
    command = [sys.executable, '-c', textwrap.dedent(program)]
    output = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert output.stdout == '(1, 3) Adam\n', output.stderr


def test_no_home_is_no_error(monkeypatch):
    def nobody():
        raise RuntimeError('Could not determine home directory.')

    monkeypatch.delenv('XDG_CACHE_HOME')
    monkeypatch.setattr(compilations.Path, 'home', nobody)
    assert compilations.keep('') is None
