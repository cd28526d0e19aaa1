"""Several GPUs, or several machines, that train as one device does."""

import tensorflow as tf

from ..errors import UserError
from .cluster import Cluster


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

    @tf.function
    def rows():
        return strategy.gather(strategy.run(lambda: tf.constant([row], tf.int64)), axis=0)

    return rows().numpy().tolist() if strategy.num_replicas_in_sync > 1 else [row]


def lost(error: Exception) -> UserError:
    """What to say where the workers cannot reach each other any more."""
    reason = str(error).partition('aborted by: ')[2].partition('\n')[0].rstrip(':')
    return UserError(
        f'another worker is gone ({reason or type(error).__name__}); start all of them again '
        'with the same commands, and they go on from the last checkpoint'
    )
