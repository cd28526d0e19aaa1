"""GPT-2 in TensorFlow 2: params, hparams, enc = model = gpt2.load('demo').

model.generate, .stream, .logits, .next_tokens, .log_probs, .hidden_states and .attentions take
text; what they stand on are the functions in model, sample and the other modules. docs/python.md
has examples.
Importing this imports no TensorFlow; a name is looked up when it is first asked for.
"""

import importlib

__version__ = '0.1.0'  # setup.py reads it here

_PLACES = {
    'load': 'loading',
    'find': 'loading',
    'Model': 'loading',
    'SamplingOptions': 'options',
    'UserError': 'errors',
}
_MODULES = ('checkpoint', 'completion', 'encoder', 'hparams', 'model', 'params', 'sample', 'views')

__all__ = [*_PLACES, *_MODULES]


def __getattr__(name: str):
    if name in _PLACES:
        return getattr(importlib.import_module(f'.{_PLACES[name]}', __name__), name)
    if name in _MODULES:
        return importlib.import_module(f'.{name}', __name__)
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')


def __dir__() -> list[str]:
    return sorted([*__all__, '__doc__', '__file__', '__path__', '__version__'])
