"""The shapes that --shape names: those of GPT-3's paper, table 2.1. No TensorFlow.

Twice the table's heads times their features are not its width. For 1.3B it has 24 x 128 and 2048:
here are 16 heads, so that heads and width are powers of two as they are beside it. For 13B it has
40 x 128 and 5140: here is a width of 5120. The parameters then are the 1.3 and 13 billion of the
names. Every second block is banded; how wide the paper does not say: 256 is GPT-Neo's.
"""

from types import SimpleNamespace

from ..errors import UserError
from .run_folder import RunFolder

SHAPE = ('n_layer', 'n_head', 'n_embd', 'n_ctx', 'attention', 'window')
SHAPES = {  # blocks, heads, width
    'gpt3-125m': (12, 12, 768),
    'gpt3-350m': (24, 16, 1024),
    'gpt3-760m': (24, 16, 1536),
    'gpt3-1.3b': (24, 16, 2048),
    'gpt3-2.7b': (32, 32, 2560),
    'gpt3-6.7b': (32, 32, 4096),
    'gpt3-13b': (40, 40, 5120),
    'gpt3-175b': (96, 96, 12288),
}
OF_ALL = {'n_ctx': 2048, 'attention': ['dense', 'banded'], 'window': 256}


def shape_of(flags: SimpleNamespace, run: RunFolder | None = None) -> dict:
    """The hyperparameters that the flags name: --n_layer and its like, before those of --shape.

    run: what may go on with its own shape. Raises UserError for what has another already.

    >>> none = dict.fromkeys(SHAPE)
    >>> shape_of(SimpleNamespace(**none | {'shape': None, 'attention': 'dense,banded'}))
    {'attention': ['dense', 'banded']}
    >>> shape_of(SimpleNamespace(**none | {'shape': 'gpt3-1.3b', 'n_layer': 2}))['n_layer']
    2
    """
    shape = {}
    if flags.shape is not None:
        if flags.shape not in SHAPES:
            *others, last = SHAPES
            raise UserError(f'--shape is {", ".join(others)} or {last}, not {flags.shape}')
        if run and flags.restore_from != 'scratch' and not run.has_checkpoint():
            raise UserError('--shape is for a new model; add --restore_from scratch')
        shape = dict(zip(SHAPE, SHAPES[flags.shape], strict=False)) | OF_ALL
    given = {name: getattr(flags, name) for name in SHAPE if getattr(flags, name) is not None}
    if 'attention' in given:
        given['attention'] = given['attention'].split(',')
    return shape | given
