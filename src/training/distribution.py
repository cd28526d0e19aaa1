"""Several GPUs, or several machines, that train as one device does."""

import json
import secrets
import sys
import zlib
from typing import NamedTuple

import tensorflow as tf

from ..errors import UserError
from ..hparams import HParams
from .cluster import Cluster
from .flags import READING
from .job import Job

# Flags that may differ from machine to machine.
OWN = ('dataset', 'val_dataset', 'models_dir')


def get_strategy(cluster: Cluster) -> tf.distribute.Strategy:
    """That of all workers, else of all this machine's GPUs, else of its one device."""
    if cluster.size > 1:
        return tf.distribute.MultiWorkerMirroredStrategy()
    if len(tf.config.list_physical_devices('GPU')) > 1:
        return tf.distribute.MirroredStrategy()
    return tf.distribute.get_strategy()


def mirror(strategy: tf.distribute.Strategy, params: dict) -> dict:
    """The parameters on every replica; all workers get the chief's."""
    if strategy.num_replicas_in_sync == 1:
        return params
    with strategy.scope():
        return tf.nest.map_structure(tf.Variable, params)


def gather(strategy: tf.distribute.Strategy, row: list[int]) -> list[list[int]]:
    """Every replica's row, the chief's first; returns when all workers have come here."""

    @tf.function(autograph=False)
    def rows():
        return strategy.gather(strategy.run(lambda: tf.constant([row], tf.int64)), axis=0)

    return rows().numpy().tolist() if strategy.num_replicas_in_sync > 1 else [row]


class Agreed(NamedTuple):
    """What all workers go by."""

    step: int  # how many the run has done
    seed: int
    resumes: bool  # whether the run has an optimizer's state to go on with
    hparams: HParams
    length: int  # tokens in a window


def agree(strategy: tf.distribute.Strategy, job: Job) -> Agreed:
    """Take from the chief where the run stands, and from all how long a window can be.

    The chief's flags, which may be those of a run that goes on, become the job's. Raises
    UserError where the workers' commands are not the same.
    """
    flags, start = job.flags, job.start
    facts = start.facts or {'step': start.counter or 0, 'seed': flags.seed}
    seed = secrets.randbits(31) if facts['seed'] is None else facts['seed']
    said = (zlib.crc32(_shared(job.asked).encode()), facts['step'], seed, start.facts is not None)
    row = [job.cluster.index, *said, job.sampler.longest]
    rows = sorted(gather(strategy, row))
    _, checksum, step, seed, resumes, _ = rows[0]
    if any(row[1] != checksum for row in rows):
        raise UserError('the workers have different flags; start all with the same command')
    hparams, longest = start.hparams, min(row[5] for row in rows)
    if job.cluster.size > 1:
        shape = hparams.to_dict() if job.cluster.is_chief else {}
        told = from_chief(strategy, job.cluster, json.dumps([shape, _shared(flags)]))
        shape, shared = json.loads(told)
        hparams = HParams().override_from_dict(shape)
        _take_flags(job, json.loads(shared))
    length = flags.context_length or hparams.n_ctx
    if longest < length and job.cluster.is_chief:
        print(
            f'the longest chunk has {longest} tokens: the windows have as many, not {length}',
            file=sys.stderr,
        )
    return Agreed(step, seed, bool(resumes), hparams, min(longest, length))


def _shared(flags) -> str:
    return json.dumps(
        {name: value for name, value in vars(flags).items() if name not in OWN}, default=str
    )


def _take_flags(job: Job, flags: dict) -> None:
    """Those of the chief; UserError where this worker has read its dataset otherwise."""
    for name in READING:
        if flags[name] != getattr(job.flags, name):
            raise UserError(
                f'the run reads its dataset with --{name} {flags[name]}, this worker has '
                f'--{name} {getattr(job.flags, name)}; start all with --{name} {flags[name]}'
            )
    vars(job.flags).update(flags)


def from_chief(strategy: tf.distribute.Strategy, cluster: Cluster, text: str) -> str:
    """The chief's text, on all workers; each has one of its own."""
    content = text.encode('utf-8')
    longest = max(row[0] for row in gather(strategy, [len(content)]))
    _, size, *content = min(
        gather(strategy, [cluster.index, len(content), *content.ljust(longest)])
    )
    return bytes(content[:size]).decode('utf-8')


def lost(error: Exception) -> UserError:
    """What to say where the workers cannot reach each other any more."""
    reason = str(error).partition('aborted by: ')[2].partition('\n')[0].rstrip(':')
    return UserError(
        f'another worker is gone ({reason or type(error).__name__}); start all of them again '
        'with the same commands, and they go on from the last checkpoint'
    )
