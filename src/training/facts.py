"""state-<step>.json: what a run must remember that is no tensor. No TensorFlow."""

import json
import zlib
from pathlib import Path

from ..model_folder import parse_object

NAMES = ('average', 'best', 'flags', 'seed', 'step')


def checksums(folder: Path, step: int) -> dict[str, int]:
    """Of a step's indices, which have those of all its tensors: so none is another save's."""
    names = (f'model-{step}.index', f'state-{step}.index')
    return {name: zlib.crc32((folder / name).read_bytes()) for name in names}


def to_text(facts: dict) -> str:
    """Facts, with the checksum that shows whether they are read as they were written."""
    return json.dumps(facts | {'crc32': _checksum(facts)}, indent=2) + '\n'


def read_facts(path: Path, step: int) -> dict:
    """The facts of a step. Raises OSError, or ValueError where they are not what was written.

    Those of earlier versions, which have no checksum or no `files`, are read as well.
    """
    facts = parse_object(path.read_bytes())
    if 'crc32' in facts and facts.pop('crc32') != _checksum(facts):
        raise ValueError('its checksum is that of other figures')
    if facts.keys() - {'files'} != set(NAMES):
        raise ValueError(f'it does not hold {", ".join(NAMES)}')
    average, best = facts['average'], facts['best']
    can_be = {
        'average': isinstance(average, list) and len(average) == 2 and all(map(_is_sum, average)),
        'best': best is None or _is_sum(best),
        'flags': isinstance(facts['flags'], dict),
        'seed': type(facts['seed']) is int and 0 <= facts['seed'] < 2**63,
        'step': facts['step'] == step and type(facts['step']) is int,
    }
    if wrong := [name for name in NAMES if not can_be[name]]:
        raise ValueError(f'its {wrong[0]} cannot be {facts[wrong[0]]!r}')
    return facts


def _is_sum(value) -> bool:
    return type(value) in (int, float) and abs(value) < 1e300


def _checksum(facts: dict) -> int:
    return zlib.crc32(json.dumps(facts, sort_keys=True).encode())
