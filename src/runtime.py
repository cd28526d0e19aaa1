"""TensorFlow's start: its environment, what it says, its GPU. Alone writes os.environ."""

import contextlib
import ctypes
import gc
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator

from . import compilations
from .errors import UserError

XLA_FLAGS = (
    # Else XLA widens low weights before its loop over the tokens, all of them, and keeps both.
    '--xla_disable_hlo_passes=while-loop-invariant-code-motion',
    # Where the processor has them: 1.05 times as fast, in bfloat16 1.2 times.
    '--xla_cpu_prefer_vector_width=512',
)
TF32 = 'GPT2_TF32'  # 1 or 0: whether a GPU may round the factors of float32 products to TF32
said = []  # once what there is to say of the GPU has been said
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
DRIVER = '/dev/nvidiactl'  # there where NVIDIA's driver is


def start(precision: str = 'float32', training: bool = False) -> None:
    """Import TensorFlow, set up for this package: quiet, unless it fails; says so at a terminal.

    precision: of the weights. float32 is computed in float32 on a GPU too, but in training, where
    TensorFlow's own default stays, TF32 (10 bits) on cards that have it; $GPT2_TF32, 0 or 1,
    decides for both. What the user has set in the environment counts more than what is set here.
    """
    _set_environment(precision, training)
    if 'tensorflow' not in sys.modules:
        _import_quietly()
    import tensorflow as tf

    tf.config.experimental.enable_tensor_float_32_execution(tf32(training))
    _say_devices(precision, training)


def prepare_lm_eval() -> None:
    """Set the environment for lm-eval, before it is imported."""
    os.environ['DISABLE_MULTIPROC'] = '1'  # it would fork a process that runs TensorFlow
    if not sys.stderr.isatty():
        os.environ.setdefault('TQDM_DISABLE', '1')  # its bars do not look


def tf32(training: bool) -> bool:
    """Whether float32 products may be computed in TF32; UserError where $GPT2_TF32 is neither."""
    said = os.environ.get(TF32, '')
    if said not in ('', '0', '1'):
        raise UserError(f'{TF32} is 0 or 1, not {said!r}; run: unset {TF32}')
    return said == '1' if said else training


def _set_environment(precision: str, training: bool) -> None:
    os.environ.setdefault('TF_FORCE_GPU_ALLOW_GROWTH', 'true')  # others use the card, too
    # What it loads of kept compilations it reports as errors: a processor's hints for tuning.
    os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')
    if training:
        return
    own = [flag for flag in os.environ.get('XLA_FLAGS', '').split() if flag not in XLA_FLAGS]
    os.environ['XLA_FLAGS'] = ' '.join([*XLA_FLAGS, *own])  # the last of the same name counts
    if precision != 'float32':
        # oneDNN's own keeps the memory of the float32 tensors that the weights are made from.
        os.environ.setdefault('TF_ONEDNN_USE_SYSTEM_ALLOCATOR', '1')
    if not own and not {'TF_XLA_FLAGS', 'tensorflow'} & {*os.environ, *sys.modules}:
        if flags := compilations.keep(os.environ['XLA_FLAGS']):
            os.environ['TF_XLA_FLAGS'] = flags


def _import_quietly() -> None:
    message = 'Loading TensorFlow ...' if sys.stderr.isatty() else ''
    print(message, end='', file=sys.stderr, flush=True)
    terminal = os.dup(2)
    gc.disable()  # what it brings stays: looking for garbage in it takes 0.6 s in all
    with tempfile.TemporaryFile('w+') as chatter:
        os.dup2(chatter.fileno(), 2)
        try:
            with _without('keras.src'):  # half of TensorFlow's import, and nothing here needs it
                import tensorflow as tf

            tf.get_logger().setLevel('ERROR')
            tf.config.list_physical_devices()  # the search for a GPU is what chatters most
        except Exception:
            chatter.seek(0)
            os.write(terminal, chatter.read().encode())
            raise
        finally:
            gc.freeze()
            gc.enable()
            os.dup2(terminal, 2)
            os.close(terminal)
            print('\r' + ' ' * len(message) + '\r' if message else '', end='', file=sys.stderr)


@contextlib.contextmanager
def _without(module: str) -> Iterator[None]:
    """Importing it fails in here, as where it is not installed; who asks for it later gets it."""
    if module in sys.modules:
        yield
        return
    sys.modules[module] = None
    try:
        yield
    finally:
        del sys.modules[module]


def _say_devices(precision: str, training: bool) -> None:
    """At a terminal the GPU in use; and wherever it is, what it cannot. Each once."""
    import tensorflow as tf

    if said:
        return
    said.append(True)

    gpus = tf.config.list_physical_devices('GPU')
    if not gpus:
        if sys.stderr.isatty() and os.path.exists(DRIVER) and not _hidden():
            print('TensorFlow does not see the NVIDIA GPU; docs/gpu.md says why', file=sys.stderr)
        return
    details = tf.config.experimental.get_device_details(gpus[0])
    name, able = details.get('device_name', 'a GPU'), details.get('compute_capability', (0, 0))
    if training:
        kind = 'TF32' if tf32(training) and able >= (8, 0) else 'float32'
        print(f'Training on {name}; float32 products are computed in {kind}', file=sys.stderr)
    elif sys.stderr.isatty():
        free = _free_memory()
        print(f'Computing on {name}{free and f", {free} free"}', file=sys.stderr)
    if precision == 'bfloat16' and able < (8, 0):
        print(f'bfloat16 is no faster than float32 on {name}; float16 is', file=sys.stderr)


def _hidden() -> bool:
    """Whether the user has hidden all GPUs."""
    return os.environ.get('CUDA_VISIBLE_DEVICES') in ('', '-1')


def _free_memory() -> str:
    """What the first visible GPU has free, '38.2 GiB', or nothing where nobody tells."""
    first = os.environ.get('CUDA_VISIBLE_DEVICES', '0').partition(',')[0]
    query = ['nvidia-smi', '--query-gpu=memory.free', '--format=csv,noheader,nounits']
    with contextlib.suppress(OSError, ValueError, subprocess.SubprocessError):
        done = subprocess.run(
            [*query, f'--id={first}'], capture_output=True, text=True, timeout=5, check=True
        )
        return f'{int(done.stdout) / 1024:.1f} GiB'
    return ''


@contextlib.contextmanager
def explained(mend: str) -> Iterator[None]:
    """Makes a UserError of what TensorFlow raises where a user can help: too little memory, for
    which `mend` says what to do, and kept compilations that it cannot load. And Ctrl-C stays a
    KeyboardInterrupt."""
    import tensorflow as tf

    try:
        with _interruptible():
            yield
    except (tf.errors.OpError, MemoryError) as error:
        if is_little_memory(error):
            raise UserError(f'the memory is too small for this; {mend}') from error
        kinds = (tf.errors.OutOfRangeError, tf.errors.DataLossError, tf.errors.InternalError)
        if isinstance(error, kinds) and compilations.forget():
            raise UserError(
                'what an earlier start compiled cannot be loaded and is removed; run the same '
                'command again'
            ) from error
        raise


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """After Ctrl-C what is inside ends with KeyboardInterrupt: TensorFlow's C++ code, which meets
    one while it traces, may make another error of it, or nothing."""
    in_main = threading.current_thread() is threading.main_thread()
    if not in_main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    pressed = []

    def press(*_):
        pressed.append(True)
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, press)
    try:
        yield
    except Exception as error:
        if pressed:
            raise KeyboardInterrupt from error
        raise
    finally:
        if signal.getsignal(signal.SIGINT) is press:
            signal.signal(signal.SIGINT, signal.default_int_handler)
    if pressed:
        raise KeyboardInterrupt


def is_little_memory(error: Exception) -> bool:
    """Whether this is how TensorFlow, XLA or CUDA say that there is too little memory."""
    import tensorflow as tf

    little = isinstance(error, tf.errors.ResourceExhaustedError | MemoryError)
    return little or 'out of memory' in str(error).lower()


@contextlib.contextmanager
def sparing() -> Iterator[None]:
    """What is taken in here, of 4 MB or more, goes back to the system as soon as it is freed. From
    then on glibc keeps up to 64 MB for what comes next, as it would come to by itself."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # another system's
        mallopt = None
    if mallopt is None or any(name.startswith(('MALLOC_', 'GLIBC_TUN')) for name in os.environ):
        yield
        return
    mallopt(M_MMAP_THRESHOLD, 1 << 22)
    try:
        yield
    finally:
        mallopt(M_MMAP_THRESHOLD, 1 << 25)
        mallopt(M_TRIM_THRESHOLD, 1 << 26)


@contextlib.contextmanager
def waiting(text: str, after: float = 1.0) -> Iterator[None]:
    """Shows `text` at a terminal while what is inside takes longer than `after` seconds."""
    if not sys.stderr.isatty():
        yield
        return
    shown = []

    def show():
        shown.append(text)
        print(f'\r\x1b[K{text}', end='', file=sys.stderr, flush=True)  # a bar may stand there

    timer = threading.Timer(after, show)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()
        if shown:
            print('\r' + ' ' * len(text) + '\r', end='', file=sys.stderr, flush=True)
