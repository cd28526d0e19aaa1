"""The processes that train one model together, as TF_CONFIG names them. No TensorFlow."""

import dataclasses
import json
import os
import socket
import time
from collections.abc import Callable

from tqdm import tqdm

from ..errors import UserError

PATIENCE = 600  # seconds that a worker waits for another to start


@dataclasses.dataclass(frozen=True)
class Cluster:
    """The workers' addresses, host:port, the chief's first, and which of them this process is."""

    workers: tuple[str, ...] = ('localhost:0',)
    index: int = 0

    @property
    def size(self) -> int:
        return len(self.workers)

    @property
    def is_chief(self) -> bool:
        return self.index == 0

    def meet(self, say: Callable[[str], None], patience: float = PATIENCE) -> None:
        """Wait until all other workers have come as far; UserError where one does not.

        say: is told for whom it waits, once.
        """
        if self.size == 1:
            return
        end, missing = time.time() + patience, list(self.workers)
        with _listen(self.workers[self.index]), self._bar() as bar:
            while missing := [worker for worker in missing if not _is_up(worker)]:
                if time.time() > end:
                    raise UserError(
                        f'no worker has come up at {missing[0]} in {patience:.0f} s; see that its '
                        'train.py runs, and that this machine can reach it'
                    )
                if not bar.n:
                    with tqdm.external_write_mode():
                        say(f'Waiting for the other workers: {", ".join(missing)}')
                bar.update(self.size - len(missing) - bar.n)
                time.sleep(0.2)

    def _bar(self) -> tqdm:
        return tqdm(total=self.size, desc='Waiting', unit=' workers', leave=False, disable=None)


ALONE = Cluster()


def find_cluster(config: str | None = None) -> Cluster:
    """The cluster of TF_CONFIG, or of this process alone; UserError where it is broken.

    {'cluster': {'worker': ['a:2222', 'b:2222']}, 'task': {'type': 'worker', 'index': 1}}, as
    JSON, is the second of two; there may also be one 'chief', who then comes first.
    """
    config = os.environ.get('TF_CONFIG', '') if config is None else config
    mend = 'set it as docs/training.md shows, or run: unset TF_CONFIG'
    if not config:
        return ALONE
    try:
        found = json.loads(config)
        if not found.get('cluster'):
            return ALONE
        jobs, task = dict(found['cluster']), found['task']
        chiefs, workers = jobs.pop('chief', []), jobs.pop('worker', [])
        if jobs or len(chiefs) > 1 or task['type'] not in ('chief', 'worker'):
            raise ValueError('train.py has workers, and one chief at most')
        if not 0 <= task['index'] < len(chiefs if task['type'] == 'chief' else workers):
            raise ValueError(f'there is no {task["type"]} {task["index"]}')
        for worker in [*chiefs, *workers]:
            if not worker.rpartition(':')[2].isdigit():
                raise ValueError(f'{worker} is not host:port')
    except KeyError as error:
        raise UserError(f'TF_CONFIG lacks {error}; {mend}') from error
    except json.JSONDecodeError as error:
        raise UserError(f'TF_CONFIG is no JSON: {error}; {mend}') from error
    except ValueError as error:
        raise UserError(f'TF_CONFIG is broken: {error}; {mend}') from error
    except (AttributeError, TypeError) as error:
        raise UserError(f'TF_CONFIG does not have the form of a cluster; {mend}') from error
    index = task['index'] + (len(chiefs) if task['type'] == 'worker' else 0)
    return Cluster((*chiefs, *workers), index)


def _listen(address: str) -> socket.socket:
    """Answer at this worker's own address, until TensorFlow does."""
    port = int(address.rpartition(':')[2])
    try:
        return socket.create_server(('', port), backlog=1024)
    except OSError as error:
        raise UserError(
            f'this worker cannot listen at {address} ({error.strerror}); end the process that '
            'does, or set another port in TF_CONFIG'
        ) from error


def _is_up(address: str) -> bool:
    host, _, port = address.rpartition(':')
    try:
        socket.create_connection((host.strip('[]'), int(port)), timeout=1).close()
    except OSError:
        return False
    return True
