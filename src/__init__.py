"""GPT-2 in TensorFlow 2: params, hparams, enc = gpt2.load('demo').

Importing this imports no TensorFlow; a name is looked up when it is first asked for.
"""

import importlib

_PLACES = {
    'load': 'loading',
    'find': 'loading',
    'SamplingOptions': 'options',
    'UserError': 'errors',
}
_MODULES = ('checkpoint', 'encoder', 'hparams', 'model', 'params', 'sample')

__all__ = [*_PLACES, *_MODULES]


def __getattr__(name: str):
    if name in _PLACES:
        return getattr(importlib.import_module(f'.{_PLACES[name]}', __name__), name)
    if name in _MODULES:
        return importlib.import_module(f'.{name}', __name__)
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
