"""What is to be learnt, as the training loop asks for it. No TensorFlow until it does."""

import contextlib
import dataclasses
import math
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import ClassVar

from ..data.load_dataset import Sampler, batches
from ..encoder import Encoder
from ..hparams import HParams
from .cluster import Cluster
from .run_folder import RunFolder
from .schedule import learning_rate_at
from .start import Start


@dataclasses.dataclass(frozen=True)
class Job:
    """What is to be trained, on what, by which processes, and where it is written.

    Its methods are what the loop asks of what is learnt, here the next token of a text: a subclass
    that learns something else answers otherwise.
    """

    flags: SimpleNamespace  # train.py's, and the run's where it goes on
    asked: SimpleNamespace  # train.py's alone
    cluster: Cluster
    folder: RunFolder
    lock: contextlib.AbstractContextManager  # on the folder
    start: Start
    enc: Encoder
    sampler: Sampler
    val_sampler: Sampler
    command: ClassVar[str] = 'train.py'  # that goes on with it
    distributed: ClassVar[bool] = True  # over all GPUs and workers

    def files(self) -> dict[str, bytes]:
        """What the run's folder has beside, or instead of, the model's files."""
        return self.start.vocabulary

    def params(self, hparams: HParams, seed: int) -> dict:
        """The parameters that the run starts from."""
        import tensorflow as tf

        from ..checkpoint import load_params
        from ..params import grown, init_params

        prefix, added = self.start.prefix, self.start.added
        before = dataclasses.replace(hparams, n_vocab=hparams.n_vocab - added)
        params = load_params(prefix, before) if prefix else init_params(before, seed)
        return grown(params, added, tf.random.Generator.from_seed(seed)) if added else params

    def loss(self) -> Callable:
        """What the trainer makes smaller."""
        from .loss import language_loss

        return language_loss

    def batches(self, hparams: HParams, seed: int, step: int, shape, length: int) -> Iterator:
        """(inputs, targets) of `step` and those after it, in batches of `shape`."""
        return batches(self.sampler, hparams.n_vocab, seed, step, shape, length, self.flags.noise)

    def learning_rate(self, step: int) -> float:
        flags = self.flags
        schedule = (flags.warmup_steps, flags.decay_steps, flags.min_learning_rate)
        return learning_rate_at(step, flags.learning_rate, *schedule)

    def stops(self) -> list[str]:
        """What ends a sample early."""
        return []

    def mean_loss(self, trainer) -> float:
        """Of the batches for validation."""
        from .validation import validation_loss

        return validation_loss(self, trainer)

    def validation(self, trainer) -> dict[str, float]:
        """The figures of the model as it is, the loss first."""
        loss = self.mean_loss(trainer)
        return {'validation_loss': loss, 'perplexity': math.exp(min(loss, 700))}
