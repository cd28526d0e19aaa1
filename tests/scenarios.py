"""What is written for keeps, by processes that die while they write: see dying.py.

Each scenario has `prepare`, what is there before; `act`, what dies; `check`, of what it left; and
`again`, the next process, after which nothing is left over.
"""

import io
import json
import os
import re
import shutil
import signal
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from gpt2.data.token_file import write_npz
from gpt2.hparams import HParams
from gpt2.model_folder import VOCABULARY, checkpoint_prefix, find_model
from gpt2.training.losses import Loss
from gpt2.training.run_folder import RunFolder
from gpt2.training.start import find_start

ROOT = Path(__file__).resolve().parent.parent
HPARAMS = HParams(n_vocab=1024, n_ctx=256, n_embd=160, n_head=4, n_layer=4)
MODEL = Path('models/tiny')
RUN = Path('checkpoint/run1')


def write_model() -> None:
    """The model that a run begins from."""
    MODEL.mkdir(parents=True)
    for name in (*VOCABULARY, 'hparams.json', 'checkpoint'):
        shutil.copy(ROOT / 'models' / 'demo' / name, MODEL)
    for name in ('model.ckpt.index', 'model.ckpt.data-00000-of-00001'):
        (MODEL / name).touch()


def contents(prefix: Path) -> set[int]:
    """The one value of each file that a checkpoint has."""
    assert checkpoint_prefix(prefix) == prefix
    ends = ('data-00000-of-00001', 'index')
    texts = [prefix.with_name(f'{prefix.name}.{end}').read_text() for end in ends]
    return {value for text in texts for value in json.loads(text).values()}


def save(step: int, value: int, saved: int = 0, keep: int = 5) -> None:
    """A step of which the weights, the optimizer's state, the facts and the losses since `saved`
    all are `value`."""
    facts = {'step': step, 'average': [value, 1.0], 'best': None, 'seed': 1, 'flags': {}}
    params, state = {'wte': value}, {'optimizer/steps': value}
    rows = [Loss(number, value, value) for number in range(saved + 1, step + 1)]
    RunFolder('run1').save(step, params, state, facts, keep, saved, rows)


def found(name: str = 'run1') -> tuple[int, int] | None:
    """The step and the value from which the same command goes on; None: from the model."""
    start = find_start(RunFolder(name), 'latest', 'tiny', 'models', {})
    if start.facts is None:
        assert start.prefix.parent == MODEL
        return None
    [value] = contents(start.prefix) | contents(start.state) | {start.facts['average'][0]}
    return start.facts['step'], value


def is_clean(folder: Path, foreign: str = '') -> None:
    """Nothing is there but whole checkpoints, and what a run's folder has beside them."""
    steps = {}
    for path in folder.iterdir():
        name = path.name
        if found := re.fullmatch(r'(?:model|state)-([0-9]+)\.(.*)', name):
            steps.setdefault(found[1], set()).add(name)
        else:
            assert name in (
                *VOCABULARY,
                'hparams.json',
                'checkpoint',
                'best',
                'counter',
                'losses.csv',
            ), name
    for step, names in steps.items():
        ends = ('model-{}.index', 'model-{}.data-00000-of-00001', 'state-{}.json')
        ends += ('state-{}.index', 'state-{}.data-00000-of-00001')
        assert step == foreign or names == {end.format(step) for end in ends}, names


class Scenario:
    """Of which all but a few need nothing done at the end."""

    def end(self):
        pass


class Save(Scenario):
    """The save of a step by a run that has some, and keeps `keep`; `back` to which it went."""

    def __init__(self, steps, step: int, keep: int, back: int = 0):
        self.steps, self.step, self.keep = steps, step, keep
        self.saved = back or max(steps, default=0)
        self.allowed = {(step, 2), (self.saved, 1), (max(steps, default=0), 1)}
        if not steps:
            self.allowed = {None, (step, 2)}

    def prepare(self):
        write_model()
        RunFolder('run1').begin(MODEL, HPARAMS, print)
        for before, step in zip((0, *self.steps), self.steps, strict=False):
            save(step, 1, before)

    def act(self):
        save(self.step, 2, self.saved, self.keep)

    def check(self):
        assert found() in self.allowed, found()
        run = RunFolder('run1')
        for step in run.whole_steps():  # also where no file `checkpoint` names it
            of_model, of_state = (contents(RUN / f'{what}-{step}') for what in ('model', 'state'))
            assert of_model == of_state == {run.remembered(step)['average'][0]}
            losses = run.losses.read(step, run.remembered(step)['average'])
            assert [row.step for row in losses] == [*range(1, step + 1)], losses
            assert {losses[-1].loss} == of_model

    def again(self):
        """The same command goes on, and saves the same step or a later one."""
        there = found()
        if there is None:
            RunFolder('run1').begin(MODEL, HPARAMS, lambda line: None)
        step, value = there or (0, 0)
        save(step + 2, 3, step, self.keep)
        assert found() == (step + 2, 3)
        is_clean(RUN)
        assert len(list(RUN.glob('model-*.index'))) <= max(self.keep, 1)


class SaveBest(Save):
    """The best model so far, by a run whose best was that of `step` before."""

    def __init__(self, before: int | None, step: int):
        super().__init__((2,), 2, 5)
        self.before, self.step = before, step

    def prepare(self):
        super().prepare()
        if self.before:
            RunFolder('run1').save_best(self.before, {'wte': 1})

    def act(self):
        RunFolder('run1').save_best(self.step, {'wte': 2})

    def best(self):
        return contents(checkpoint_prefix(find_model('best', RUN)))

    def check(self):
        if self.before or (RUN / 'best' / 'checkpoint').exists():
            assert self.best() in ({1}, {2})

    def again(self):
        for value in (3, 4):
            RunFolder('run1').save_best(self.step, {'wte': value})
            assert self.best() == {value}
            names = {path.name.partition('.')[0] for path in (RUN / 'best').iterdir()}
            assert len(names) == 5 and len(list((RUN / 'best').glob('model-*'))) == 2, names


class Begin(Save):
    """A run that begins under the name of one that has checkpoints."""

    def __init__(self):
        super().__init__((2, 4), 6, 5)

    def act(self):
        RunFolder('run1').begin(MODEL, HPARAMS, lambda line: None)

    def check(self):
        assert (4, 1) in (found('run1'), found('run1.1'))

    def again(self):
        self.act()
        save(2, 3)
        assert found() == (2, 3)
        is_clean(RUN)
        assert (4, 1) in (found('run1.1'), found('run1.2') if Path(f'{RUN}.2').exists() else 0)


class SetAside(Begin):
    """The same, by an earlier run's being set aside alone."""

    def act(self):
        RunFolder('run1').set_aside()

    def again(self):
        if RUN.exists():
            self.act()
        assert found('run1.1') == (4, 1) and found() is None


class Complete(Save):
    """A run of nshepperd's fork becomes a model folder, and goes on."""

    def __init__(self):
        super().__init__((), 9, 1)

    def prepare(self):
        write_model()
        RUN.mkdir(parents=True)
        for name in ('model-7.index', 'model-7.data-00000-of-00001', 'model-7.meta'):
            (RUN / name).write_text('{"model/wte": 7}')
        (RUN / 'checkpoint').write_text('model_checkpoint_path: "model-7"\n')
        (RUN / 'counter').write_text('7\n')

    def act(self):
        RunFolder('run1').complete(MODEL, HPARAMS)

    def check(self):
        assert contents(RUN / 'model-7') == {7}
        assert find_start(RunFolder('run1'), 'latest', 'tiny', 'models', {}).counter == 7

    def again(self):
        self.act()
        save(9, 2, 7, keep=1)
        find_model('run1', 'checkpoint')
        assert found() == (9, 2)
        is_clean(RUN, foreign='7')


class Samples(Scenario):
    """The samples of a step, some of which an earlier run has left."""

    path = Path('samples/run1/samples-5')

    def prepare(self):
        self.path.parent.mkdir(parents=True)
        self.path.write_text('old')

    def write(self, text: str, step: int):
        from gpt2.training import samples

        samples.draw_samples = lambda *_: [text]
        job = SimpleNamespace(folder=RunFolder('run1'))
        report = SimpleNamespace(line=lambda line: None, write_events=lambda samples: None)
        samples.write_samples(job, None, SimpleNamespace(step=step), report)

    def act(self):
        self.write('new', 5)

    def check(self):
        assert self.path.read_text() in ('old', '======== SAMPLE 1 ========\nnew\n')

    def again(self):
        self.write('newer', 6)
        assert {path.name for path in self.path.parent.iterdir()} == {'samples-5', 'samples-6'}


class Dataset(Scenario):
    """encode.py's output, where there is an older one."""

    path = Path('a.npz')
    chunks = [np.arange(n, dtype=np.uint16) for n in (9, 1000, 3)]

    def prepare(self):
        write_npz(self.path, self.chunks[:1])

    def act(self):
        write_npz(self.path, self.chunks)

    def check(self):
        with np.load(self.path) as archive:
            arrays = list(archive.values())
        assert len(arrays) in (1, 3)
        assert all(map(np.array_equal, arrays, self.chunks))

    def again(self):
        self.act()
        self.check()
        assert os.listdir() == ['a.npz']


class Vocabulary(Scenario):
    """make_vocabulary.py's two files."""

    def prepare(self):
        Path('text.txt').write_text('to be or not to be, that is the question ' * 9)

    def act(self):
        import runpy
        import sys

        sys.stdout = io.StringIO()
        script = runpy.run_path(str(ROOT / 'make_vocabulary.py'))
        script['make_vocabulary']('text.txt', 'own', n_vocab=270)

    def check(self):
        folder = Path('models/own')
        if (folder / 'encoder.json').exists():
            assert len(json.loads((folder / 'encoder.json').read_text())) == 270
            assert (folder / 'vocab.bpe').read_text('utf-8').count('\n') == 270 - 257 + 1

    def again(self):
        if not Path('models/own/encoder.json').exists():
            self.act()
        self.check()
        left = {path.name for path in Path('models/own').iterdir()}
        assert left - {'.encoder.json.part'} == {'encoder.json', 'vocab.bpe'}


class Download(Scenario):
    """The files of a model, from a server in a process of its own."""

    def prepare(self):
        import server
        from gpt2 import releases

        releases.KNOWN = dict.fromkeys(releases.KNOWN, {})
        here = server.Server()
        self.url, self.is_right, self.whole = here.url, server.is_right, server.CONTENT
        os.environ['NO_PROXY'] = '127.0.0.1'
        self.pid = os.fork()
        if self.pid == 0:
            here.serve_forever()

    def act(self):
        from gpt2 import releases

        releases.download(['774M'], base_url=self.url, out=io.StringIO())

    def check(self):
        for path in Path().glob('models/774M/*'):
            if path.suffix != '.part':
                assert path.read_bytes() == self.whole[path.name], path

    def again(self):
        self.act()
        assert self.is_right('models/774M')

    def end(self):
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)


SCENARIOS = {
    'first save': lambda: Save((), 2, 5),
    'later save': lambda: Save((2, 4), 6, 5),
    'save with pruning': lambda: Save((2, 4, 6, 8), 10, 2),
    'save that keeps one': lambda: Save((2,), 4, 1),
    'save over the newest step': lambda: Save((2, 4, 6), 6, 5, back=4),
    'save over the newest step, with pruning': lambda: Save((2, 4, 6), 6, 1, back=4),
    'save over a step before': lambda: Save((2, 4, 6), 4, 5, back=2),
    'first best': lambda: SaveBest(None, 2),
    'later best': lambda: SaveBest(2, 4),
    'best of the same step': lambda: SaveBest(2, 2),
    'begin': Begin,
    'set aside': SetAside,
    "another program's run": Complete,
    'samples': Samples,
    'dataset': Dataset,
    'vocabulary': Vocabulary,
    'download': Download,
}
