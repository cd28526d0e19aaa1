"""A run in the working directory, and the model that it may start from.

Tests import its fixtures by the names of their functions, which differ from those of the fixtures:
an argument then shadows no import.
"""

import pytest
import tensorflow as tf

from conftest import DATA
from gpt2.checkpoint import load_params
from gpt2.model_folder import load_hparams
from gpt2.training.start import find_start

STATE = {'optimizer/steps': tf.constant(3)}


def facts_of(step):
    return {'step': step, 'average': [0.5, 1.0], 'best': None, 'seed': 7, 'flags': {'top_p': 0.0}}


@pytest.fixture(name='hparams')
def tiny_hparams(tiny, monkeypatch):
    """Of models/tiny in the working directory, which a run may start from."""
    monkeypatch.chdir(tiny.parent.parent)
    return load_hparams(tiny)


@pytest.fixture(name='params')
def tiny_params(hparams):
    return load_params(DATA / 'tiny-random', hparams)


def start_of(run, restore_from='latest', **shape):
    return find_start(run, restore_from, 'tiny', 'models', shape)
