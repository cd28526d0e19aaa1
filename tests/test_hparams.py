import pytest

from gpt2.errors import UserError
from gpt2.hparams import HParams, default_hparams


def test_hparams():
    hparams = default_hparams()
    hparams.override_from_dict({'n_vocab': 50257, 'n_layer': 24})
    assert hparams == HParams(50257, 1024, 768, 12, 24)
    for bad in ({'n_layers': 2}, {'n_layer': 0}, {'n_layer': '2'}, {'n_head': 5}):
        with pytest.raises(UserError):
            default_hparams().override_from_dict(bad)
