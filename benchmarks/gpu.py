"""For whoever has a GPU: every way to sample and to train, held against the CPU, and timed."""

import contextlib
import functools
import json
import math
import os
import platform
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '2')  # errors only

import numpy as np
import tensorflow as tf

from gpt2 import checkpoint, cli, fast, options, runtime, sample, steps, weights
from gpt2.encoder import get_encoder
from gpt2.errors import UserError
from gpt2.hparams import default_hparams
from gpt2.model import model
from gpt2.model_folder import load_hparams
from gpt2.params import init_params, param_shapes
from gpt2.training.trainer import Trainer

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT / 'tests' / 'data'
DEMO = ROOT / 'models' / 'demo'
HPARAMS = load_hparams(DEMO)
WAYS = {'greedy': {'temperature': 0}, 'top_k 40': {'top_k': 40}, 'top_p 0.9': {'top_p': 0.9}}
KL = {'float32': 1e-6, 'bfloat16': 1e-3, 'float16': 1e-4}  # nats away from the CPU, at most
LOSS = {'float32': 1e-3, 'bfloat16': 0.06, 'float16': 0.06}  # likewise, of some 7
MOST_COPIED = 1e6  # bytes to the card for a prompt: tokens and numbers, never parameters


class Line:
    """The figures of one check; `state` is FAIL once one of them is not as it should be."""

    def __init__(self):
        self.state, self.figures, self.texts = 'ok', {}, []

    def show(self, limit: str = '', **figures) -> None:
        for name, value in figures.items():
            if not isinstance(value, (str, int)):
                value = float(f'{value:.3g}')
            self.figures[name] = value
            self.texts.append(f'{name.replace("_", " ")} {value}{limit}')

    def expect(self, truth, **figures) -> None:
        self.show(**figures)
        self.state = self.state if truth else 'FAIL'

    def below(self, limit: float, **figures) -> None:
        self.show(f' < {limit:.3g}', **figures)
        self.expect(all(value < limit for value in figures.values()))  # not a number fails, too


class Report:
    """Prints a line for each check as soon as it is done, and keeps them all."""

    def __init__(self, device: str):
        self.device, self.checks = device, []

    @contextlib.contextmanager
    def check(self, name: str) -> Iterator[Line]:
        """The line of what is done inside: FAIL where that raises."""
        line = Line()
        try:
            yield line
        except Exception as error:
            traceback.print_exc()
            line.expect(False, error=f'{type(error).__name__}: {str(error)[:300]}')
            frames = traceback.extract_tb(error.__traceback__)[-4:]
            line.show(at=' '.join(f'{Path(x.filename).name}:{x.lineno}' for x in frames))
        print(f'{line.state:5}{self.device:5}{name:46}{"  ".join(line.texts)}', flush=True)
        self.checks.append({'check': name, 'state': line.state} | line.figures)

    def end(self) -> list[str]:
        """Prints everything as one line of JSON, and gives what has failed."""
        failed = [check['check'] for check in self.checks if check['state'] == 'FAIL']
        print(f'{len(failed)} of {len(self.checks)} checks failed; for an issue:')
        print(json.dumps({'device': self.device, 'failed': failed, 'checks': self.checks}))
        return failed


@functools.cache
def demo(precision: str) -> dict:
    """The demo model as it is sampled from."""
    return checkpoint.load_params(DEMO, HPARAMS, weights.for_sampling(precision))


@functools.cache
def demo_on_cpu() -> dict:
    return checkpoint.load_params(DEMO, HPARAMS, cpu_variable)


def cpu_variable(name: str, value) -> tf.Variable:
    with tf.device('CPU:0'):  # load_params converts in threads, which know of no device outside
        return tf.Variable(value)


@functools.cache
def text(rows: int, n: int) -> np.ndarray:
    """English in the demo model's tokens, [rows, n]."""
    ids = get_encoder(DEMO.name, DEMO.parent).encode((ROOT / 'README.md').read_text('utf-8'))
    return np.resize(np.array(ids, np.int32), [rows, n])


def log_probs(params, tokens, past=None) -> np.ndarray:
    logits = model(params, HPARAMS, tokens, past=past)['logits']
    return tf.nn.log_softmax(tf.cast(logits, tf.float64)).numpy()


def places(*tensors) -> str:
    """Where the memory of tensors and variables is: 'GPU:0'."""
    names = {tf.convert_to_tensor(x).backing_device for x in tf.nest.flatten(tensors)}
    return ' and '.join(sorted(name.partition('device:')[2] for name in names))


def versions(report: Report, flags) -> None:
    gpus, build, driver = tf.config.list_physical_devices('GPU'), tf.sysconfig.get_build_info(), ''
    with report.check('versions') as line:
        line.show(python=platform.python_version(), tensorflow=tf.__version__)
        line.show(**{x: build.get(f'{x}_version', 'none') for x in ('cuda', 'cudnn')})
        tf32 = tf.config.experimental.tensor_float_32_execution_enabled()
        line.show(TF32=tf32, GPT2_TF32=os.environ.get('GPT2_TF32', 'unset'))
    with report.check('cards') as line:
        query = ['nvidia-smi', '--query-gpu=name,driver_version,memory.total', '--format=csv']
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            driver = subprocess.check_output(query, text=True, timeout=20).strip()
        line.show(nvidia_smi=driver.replace('\n', '; ') or 'none')
        hidden = os.environ.get('CUDA_VISIBLE_DEVICES') in ('', '-1')
        line.expect(gpus or hidden or not driver, TensorFlow_sees=len(gpus))
        for gpu in gpus:
            details = tf.config.experimental.get_device_details(gpu)
            line.show(**{gpu.name.partition('device:')[2]: str(details)})


def devices(report: Report, flags) -> None:
    """Where parameters, the cache and drawn tokens are."""
    drawn, feed = [], sample.feed

    def spy(*args, **kwargs):
        drawn.append(feed(*args, **kwargs))
        return drawn[-1]

    for name in flags.precisions:
        with report.check(f'{name}: devices') as line:
            cache = steps.read(demo(name), HPARAMS, text(2, 8), 32)
            with mock.patch.object(sample, 'feed', spy):
                sample.sample_sequence(demo(name), hparams=HPARAMS, context=text(2, 8), length=4)
            line.show(parameters=places(demo(name)), cache=places(cache), tokens=places(drawn))
            line.expect(places(demo(name), cache) == ('GPU:0' if flags.gpu else 'CPU:0'))
    with report.check('devices of what they are compared to') as line, tf.device('CPU:0'):
        cache = steps.read(demo_on_cpu(), HPARAMS, text(2, 8), 32)
        logits = model(demo_on_cpu(), HPARAMS, text(2, 8))['logits']
        place = places(demo_on_cpu(), cache, logits)
        line.expect(place == 'CPU:0', all=place)


def golden(report: Report, flags) -> None:
    """OpenAI's own outputs."""
    folder, arrays = DATA / 'tiny-random', np.load(DATA / 'forward.npz')
    hparams = load_hparams(folder)
    params = checkpoint.load_params(folder, hparams, weights.for_sampling())
    tokens, greedy = arrays['tokens'], arrays['greedy']
    with report.check("OpenAI's logits") as line:
        logits = model(params, hparams, tokens)['logits']
        line.below(1e-4, difference=np.abs(logits - arrays['logits']).max())
    with report.check("OpenAI's logits with a past") as line:
        past = model(params, hparams, tokens[:, :13])['present']
        logits = model(params, hparams, tokens[:, 13:], past=past)['logits']
        line.below(1e-4, difference=np.abs(logits - arrays['logits_with_past']).max())
    with report.check("OpenAI's greedy tokens") as line:
        given = {'hparams': hparams, 'length': greedy.shape[1] - 5, 'temperature': 0}
        ours = sample.sample_sequence(params, context=greedy[:, :5], **given).numpy()
        line.expect(np.array_equal(ours, greedy), equal=np.mean(ours == greedy))


def precision(report: Report, flags) -> None:
    """The demo model's distributions over a text: of whole rows, and of few tokens after a past."""
    rows, start = text(4, HPARAMS.n_ctx), HPARAMS.n_ctx - 16
    with tf.device('CPU:0'):
        exact = log_probs(demo_on_cpu(), rows)
    for name in flags.precisions:
        with report.check(f'{name}: beside the CPU') as line:
            past = model(demo(name), HPARAMS, rows[:, :start])['present']
            found = [log_probs(demo(name), rows), log_probs(demo(name), rows[:, start:], past)]
            for ours, few in zip(found, ('', '_of_few'), strict=True):
                theirs = exact[:, -ours.shape[1] :]
                divergence = np.sum(np.exp(theirs) * (theirs - ours), axis=-1).mean()
                line.below(KL[name], **{f'KL{few}': abs(divergence)})
                line.show(**{f'same_token{few}': np.mean(ours.argmax(-1) == theirs.argmax(-1))})


def samplers(report: Report, flags) -> None:
    """Every precision, batch, way to draw, and beginning; streamed and not."""
    uniform, end = math.log(HPARAMS.n_vocab), HPARAMS.n_vocab - 1
    for name, batch, way, n in product(flags.precisions, flags.batches, WAYS, (1, 8)):
        start = {'context': text(batch, n)} if n > 1 else {'start_token': end, 'batch_size': batch}
        given = {'hparams': HPARAMS, 'length': 24, 'seed': 1} | start | WAYS[way]
        asked = options.SamplingOptions(length=24, seed=1, **WAYS[way])
        contexts = start.get('context', [[end]] * batch)
        kind = 'prompt' if n > 1 else 'start token'
        with report.check(f'{name}: {kind}, {way}, batch {batch}') as line:
            whole = sample.sample_sequence(demo(name), **given).numpy()
            pieces = list(sample.generate(demo(name), HPARAMS, contexts, asked))
            streamed = np.concatenate([contexts, *(piece.tokens for piece in pieces)], axis=1)
            line.expect(whole.shape == (batch, n + 24), shape=str(whole.shape))
            same = np.mean(streamed == whole)  # in low precision other chunks may be rounded apart
            line.expect(same == 1 or name != 'float32', streamed_equal=same)
            with tf.device('CPU:0'):
                scores = log_probs(demo_on_cpu(), whole[:, :-1])[:, n - 1 :]
                nats = -np.take_along_axis(scores, whole[:, n:, None], axis=2).mean()
                line.below(uniform, nats_on_CPU=nats)
                if (name, way) == ('float32', 'greedy'):
                    theirs = sample.sample_sequence(demo_on_cpu(), **given).numpy()
                    line.expect(np.array_equal(whole, theirs), as_CPU=np.mean(whole == theirs))


def training(report: Report, flags) -> None:
    """Steps of Adam, with and without memory saving, beside the CPU's and the original's."""
    folder, arrays = DATA / 'tiny-random', np.load(DATA / 'training.npz')
    hparams, batches = load_hparams(folder), arrays['batches'][: flags.steps, None]

    def losses(convert=None, **given):
        trainer = Trainer(checkpoint.load_params(folder, hparams, convert), hparams, **given)
        steps = enumerate(map(tf.constant, batches))
        return [trainer.step(batch, batch, 1e-3, number)[0] for number, batch in steps]

    with tf.device('CPU:0'):
        exact = losses(cpu_variable)
    for name, saving in product(flags.precisions, (False, True)):
        kind = ', saving memory' if saving else ''
        with report.check(f'{name}: training{kind}') as line:
            ours = losses(precision=name, memory_saving_gradients=saving)
            for other, theirs in (('CPU', exact), ('original', arrays['adam_losses'])):
                away = np.abs(np.subtract(ours, theirs[: len(ours)])).max()
                line.below(LOSS[name], **{f'from_{other}': away})
            line.show(steps=len(ours), last_loss=ours[-1])


def speed(report: Report, flags) -> None:
    """A random model, of 124M's shape if no other is asked for: seconds, tokens/s, copies."""
    with tempfile.TemporaryDirectory() as folder:
        with report.check('random model, saved') as line:
            checkpoint.save_params(Path(folder, 'model.ckpt'), init_params(flags.hparams, seed=0))
            shapes = param_shapes(flags.hparams).values()
            line.show(parameters=sum(map(math.prod, shapes)))
        with report.check('memory bandwidth') as line:
            limit = bandwidth()
            line.show(GB_per_s=limit / 1e9)
        speeds = {name: speeds_of(report, flags, folder, name, limit) for name in flags.precisions}
    for length in flags.lengths if {'float32', 'bfloat16'} <= speeds.keys() else ():
        with report.check(f'bfloat16 over float32, {length} tokens') as line:
            line.show(times=speeds['bfloat16'][length] / speeds['float32'][length])


def speeds_of(report: Report, flags, folder, name: str, limit: float) -> dict[int, float]:
    """Tokens per second for each length."""
    if flags.gpu:
        tf.config.experimental.reset_memory_stats('GPU:0')
    params = checkpoint.load_params(folder, flags.hparams, weights.for_sampling(name))
    context = np.random.default_rng(0).integers(0, 50256, [1, 8], np.int32)
    given = {'hparams': flags.hparams, 'context': context, 'top_k': 40, 'seed': 0}
    speeds = {}

    def run(length):
        began = time.perf_counter()
        sample.sample_sequence(params, length=length, **given).numpy()
        return time.perf_counter() - began

    def first_token(length):
        began = time.perf_counter()
        asked = options.SamplingOptions(length=length, top_k=40, seed=0)
        next(sample.generate(params, flags.hparams, context, asked))
        return time.perf_counter() - began

    with report.check(f'{name}: seconds to the first token') as line:
        line.show(with_compiling=first_token(flags.lengths[0]), again=first_token(flags.lengths[0]))
    for length in flags.lengths:
        with report.check(f'{name}: {length} tokens, batch 1') as line:
            speeds[length] = length / statistics.median([run(length) for _ in range(4)][1:])
            size = sum(x.shape.num_elements() * x.dtype.size for x in tf.nest.flatten(params))
            line.show(tokens_per_s=speeds[length], bandwidth_used=size * speeds[length] / limit)
            line.show(**peak(flags.gpu))
    with report.check(f"{name}: a prompt's copies to the card") as line:
        copied = bytes_to_card(lambda: run(flags.lengths[0]))
        if copied is None:
            line.state = 'n/a'
            line.show(profile='no device plane')
        else:
            line.below(MOST_COPIED, bytes=copied)
    return speeds


def bandwidth() -> float:
    """Bytes per second at which the device sums up 1 GiB, four times without waiting for it."""
    x, times = tf.ones([2**28]), []
    for _ in range(3):
        began = time.perf_counter()
        sums = [tf.reduce_sum(x) for _ in range(4)]
        sums[-1].numpy()
        times.append(time.perf_counter() - began)
    return 4 * 2**30 / min(times)


def peak(gpu: bool) -> dict[str, float]:
    """MiB: of the card since it was last asked to forget, else of the process since its start."""
    if gpu:
        return {'card_MiB': tf.config.experimental.get_memory_info('GPU:0')['peak'] / 2**20}
    return {'process_MiB': resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10}


def bytes_to_card(work) -> int | None:
    """What TensorFlow's profiler saw copied to cards; None where it saw nothing on any card."""
    from tensorflow.tsl.profiler.protobuf import xplane_pb2

    with tempfile.TemporaryDirectory() as folder:
        tf.profiler.experimental.start(folder)
        try:
            work()
        finally:
            tf.profiler.experimental.stop()
        files = [path.read_bytes() for path in Path(folder).rglob('*.xplane.pb')]
    planes = [plane for file in files for plane in xplane_pb2.XSpace.FromString(file).planes]
    planes = [plane for plane in planes if plane.name.startswith('/device:GPU')]
    events = [(plane, event) for plane in planes for line in plane.lines for event in line.events]
    copied = 0
    for plane, event in events:
        known = plane.stat_metadata  # of names, and of texts that come often
        for stat in event.stats:
            if known[stat.metadata_id].name == 'memcpy_details':
                details = stat.str_value or known[stat.ref_value].name
                if plane.event_metadata[event.metadata_id].name == 'MemcpyH2D':
                    copied += int(re.search(r'\bsize:(\d+)', details)[1])
    return copied if events else None


CHECKS = (versions, devices, golden, precision, samplers, training, speed)


def benchmark(
    lengths: str = '128,1000',
    batches: str = '1,8',
    precisions: str = 'float32,bfloat16,float16',
    steps: int = 20,
    n_layer: int = 12,
    n_embd: int = 768,
    n_head: int = 12,
    only: str | None = None,
):
    """
    Check and time everything on the GPU, or, marked cpu, without one; its last line is for an issue

    :lengths=128,1000 : Tokens to sample after a prompt of 8, to be timed
    :batches=1,8 : Texts side by side, where the ways to sample are checked
    :precisions=float32,bfloat16,float16 : Types of the weights
    :steps=20 : Steps of training to compare, up to 24
    :n_layer=12 : Shape of the model that is timed, if left out that of 124M
    :n_embd=768 : likewise
    :n_head=12 : likewise
    :only=None : Some of versions,devices,golden,precision,samplers,training,speed
    """
    known = {check.__name__: check for check in CHECKS}
    chosen = only.split(',') if only else list(known)
    if not known.keys() >= set(chosen):
        raise UserError(f'--only is some of {",".join(known)}, not {only}')
    for name in precisions.split(','):
        options.check_precision(name)
    shape = {'n_vocab': 50257, 'n_layer': n_layer, 'n_embd': n_embd, 'n_head': n_head}
    flags = SimpleNamespace(
        lengths=[int(length) for length in lengths.split(',')],
        batches=[int(batch) for batch in batches.split(',')],
        precisions=precisions.split(','),
        steps=steps,
        hparams=default_hparams().override_from_dict(shape),
    )
    runtime.start()
    tf.get_logger().setLevel('ERROR')  # so many models in one process are compiled anew too often
    flags.gpu = fast.on_gpu()
    where = 'all checks run on GPU:0, marked gpu'
    print(where if flags.gpu else 'no GPU: all checks run on the CPU, marked cpu', flush=True)
    report = Report('gpu' if flags.gpu else 'cpu')
    for name in chosen:
        try:
            known[name](report, flags)
        except Exception as error:  # between its lines
            with report.check(name):
                raise error
    if report.end():
        sys.exit(1)


if __name__ == '__main__':
    cli.run(benchmark)
