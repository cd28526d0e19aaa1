import json

import pytest
from runs import STATE, facts_of, start_of, tiny_hparams, tiny_params  # noqa: F401

from gpt2.errors import UserError
from gpt2.training.facts import read_facts, to_text
from gpt2.training.run_folder import RunFolder


def test_each_changed_or_cut_byte_of_what_json_said_is_found(tiny, hparams, params):
    run = RunFolder('run1')
    run.begin(tiny, hparams, print)
    run.save(3, params, STATE, facts_of(3), keep=5)
    path = run.path / 'state-3.json'
    whole, seen = path.read_bytes(), 0
    changed = [whole[:at] for at in range(len(whole))]
    for at in range(len(whole)):
        changed += [whole[:at] + bytes([whole[at] ^ bit]) + whole[at + 1 :] for bit in (1, 8, 64)]
    for content in [*changed, b'[' * 100_000, b'null', b'{}', b'\xff']:
        path.write_bytes(content)
        try:
            assert start_of(run).facts == facts_of(3)  # only a blank or the last newline is gone
        except UserError as error:
            assert str(error).startswith(f'{path} is damaged: ')
            seen += 1
    assert seen > len(changed) - len(whole) / 4
    path.write_text(json.dumps(facts_of(3)))  # as earlier versions wrote it
    assert start_of(run).facts == facts_of(3)


@pytest.mark.parametrize(
    'changed',
    [
        *({'step': 4}, {'step': True}, {'step': 3.0}, {'seed': -1}, {'seed': 2**63}, {'seed': '7'}),
        *({'average': [1.0]}, {'average': 1.0}, {'average': [float('nan'), 1]}, {'flags': []}),
        *({'best': 'low'}, {'best': float('inf')}, {'more': 1}, {'average': [None, 1.0]}),
    ],
)
def test_facts_that_cannot_be(tmp_path, changed):
    path = tmp_path / 'state-3.json'
    for text in (json.dumps(facts_of(3) | changed), to_text(facts_of(3) | changed)):
        path.write_text(text)
        with pytest.raises(ValueError, match='cannot be|does not hold'):
            read_facts(path, 3)
