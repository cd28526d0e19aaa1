import json
import socket

import numpy as np
import pytest

from gpt2.data.load_dataset import load_dataset
from gpt2.encoder import get_encoder
from gpt2.errors import UserError
from gpt2.training.cluster import ALONE, Cluster, find_cluster
from jobs import free_addresses

TWO = {'cluster': {'worker': ['a:1', 'b:2']}, 'task': {'type': 'worker', 'index': 1}}


def test_clusters():
    assert find_cluster('') == find_cluster('{}') == ALONE
    assert find_cluster(json.dumps(TWO)) == Cluster(('a:1', 'b:2'), 1)
    jobs = {'worker': ['b:2', 'c:3'], 'chief': ['a:1']}
    for job, index, place in (('chief', 0, 0), ('worker', 0, 1), ('worker', 1, 2)):
        task = {'type': job, 'index': index}
        found = find_cluster(json.dumps({'cluster': jobs, 'task': task}))
        assert found == Cluster(('a:1', 'b:2', 'c:3'), place)
        assert found.is_chief == (place == 0)


@pytest.mark.parametrize(
    'config, sentence',
    [
        ('{', 'TF_CONFIG is no JSON: .*'),
        ('7', 'TF_CONFIG does not have the form of a cluster'),
        (json.dumps({'cluster': {'worker': ['a:1']}}), "TF_CONFIG lacks 'task'"),
        (
            json.dumps(TWO | {'task': {'type': 'ps', 'index': 0}}),
            'TF_CONFIG is broken: train.py .*',
        ),
        (json.dumps(TWO | {'task': {'type': 'worker', 'index': 2}}), '.*there is no worker 2'),
        (json.dumps(TWO | {'cluster': {'worker': ['a', 'b']}}), '.*a is not host:port'),
    ],
)
def test_broken_clusters(config, sentence):
    with pytest.raises(
        UserError, match=f'^{sentence}; set it as docs/training.md shows, or run: unset'
    ):
        find_cluster(config)


def test_a_worker_that_does_not_come(capsys):
    addresses = free_addresses()
    with pytest.raises(UserError, match=f'no worker has come up at {addresses[1]} in 0 s; see'):
        Cluster(tuple(addresses)).meet(print, patience=0.3)
    assert f'Waiting for the other workers: {addresses[1]}' in capsys.readouterr().out
    with socket.create_server(('localhost', int(addresses[1].partition(':')[2]))):
        Cluster(tuple(addresses)).meet(print, patience=0)
        with pytest.raises(UserError, match=f'cannot listen at {addresses[1]} .*; end the proc'):
            Cluster(tuple(addresses), 1).meet(print)


def test_shards_are_dealt_out(tmp_path, tiny):
    enc = get_encoder(tiny.name, tiny.parent)
    for number in range(3):
        np.savez(tmp_path / f'{number}.npz', np.array([number, number]))

    def ids(pattern, workers, index):
        cluster = Cluster(('localhost:0',) * workers, index)
        return [int(chunk[:1][0]) for chunk in load_dataset(enc, pattern, cluster=cluster)]

    shards = tmp_path / '?.npz'
    assert [ids(shards, 2, index) for index in (0, 1)] == [[0, 2], [1]]
    assert [ids(tmp_path / '1.npz', 2, index) for index in (0, 1)] == [[1], [1]]
    with pytest.raises(UserError, match='has 3 .npz files for 4 workers; name one, or at least as'):
        ids(shards, 4, 0)
