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


def test_attention():
    values = {'n_vocab': 9, 'attention': ['dense', 'banded', 'banded'], 'window': 5}
    hparams = default_hparams().override_from_dict(values)
    assert [hparams.window_of(i) for i in range(7)] == [None, 5, 5, None, 5, 5, None]
    assert default_hparams().override_from_dict(hparams.to_dict()) == hparams != HParams(9)
    assert hash(hparams) != hash(HParams(9)) and hparams.to_dict().items() >= values.items()
    dense = hparams.override_from_dict({'attention': ['dense']})
    assert dense == HParams(9) and 'attention' not in dense.to_dict()


@pytest.mark.parametrize(
    'values',
    [
        *(
            {'attention': bad, 'window': 5}
            for bad in ('banded', [], ['banded', 1], [['dense']], {})
        ),
        *({'attention': ['banded'], 'window': bad} for bad in (0, -1, '5', 1.5, True, None)),
        {'attention': ['banded']},
        {'window': 5},
    ],
    ids=str,
)
def test_attention_that_is_none(values):
    with pytest.raises(UserError, match='attention is a list|window must be|go together; set both'):
        default_hparams().override_from_dict(values)


@pytest.mark.parametrize('name', ['n_vocab', 'n_ctx', 'n_embd', 'n_layer'])
@pytest.mark.parametrize('value', [12 * 10**11, 10**300])
def test_no_machine_holds_it(name, value):
    with pytest.raises(UserError, match=r'no machine holds more|whole number above 0, up to'):
        default_hparams().override_from_dict({name: value})
