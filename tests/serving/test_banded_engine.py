"""The batch of a banded model: each text as the samplers make it, whose rings are tested alone."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
from test_engine import row, texts

import gpt2
from conftest import ROOT
from gpt2.hparams import HParams
from gpt2.loading import Model
from gpt2.options import SamplingOptions
from gpt2.params import init_params
from gpt2.sample import generate
from gpt2.serving import programs
from gpt2.serving.engine import Engine

SHAPE = HParams(1024, 250, 16, 2, 2, attention=('banded', 'dense'), window=10)


@pytest.fixture(scope='module')
def model():
    params = init_params(SHAPE, seed=3)
    for i, value in enumerate(tf.nest.flatten(params)):  # so that heads look somewhere
        value.assign_add(tf.random.stateless_normal(value.shape, [1, i], stddev=0.2))
    return Model(params, SHAPE, gpt2.find('demo', ROOT / 'models').enc)


@pytest.fixture(scope='module')
def engine(model):
    return Engine(model, rows=3)


def test_texts_of_several_lengths_side_by_side(model, engine):
    """Their rings wrap, by tokens drawn and by pieces of prompts; and one of the texts slides."""
    random = np.random.default_rng(4)
    contexts = [random.integers(0, 1000, n).tolist() for n in (100, 200, 240)]
    options = SamplingOptions(length=60, temperature=0)
    drawn = generate(model.params, SHAPE, contexts, options)
    expected = np.concatenate([piece.tokens for piece in drawn], 1).tolist()
    found = texts(engine, [row(model, context, **vars(options)) for context in contexts])
    assert found == expected and len({*map(tuple, found)}) == 3


def test_its_memory():
    heads, features = 2, 8
    ring = [[3, heads, 10 + programs.PIECES[-1], features]]
    dense = [[3, heads, 256, features], [3, heads, 44, features]]
    hparams = dataclasses.replace(SHAPE, n_ctx=300)
    memory = programs.memory_of(hparams, 3)
    assert [[[*k.shape] for k, _ in block] for block in memory] == [ring, dense]
    total = sum(x.numpy().nbytes for x in tf.nest.flatten(memory))
    assert total == programs.bytes_of(hparams, 3)
    assert [len(block) for block in programs.up_to(memory, 256)] == [1, 1]
