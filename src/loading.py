"""From a model's name to all that is needed to use it, and what one asks of it."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from . import runtime
from .encoder import Encoder, read_encoder
from .hparams import HParams
from .model_folder import find_prefix, load_hparams
from .options import check_precision, check_range


class Model(NamedTuple):
    """A model as it is used: params, a nested dict of tensors; hparams; enc, its encoder.

    A text, below, is a str, or its ids: a list, a NumPy array or a tensor of whole numbers. For a
    list of texts, of any lengths, each method but `stream` returns a list. Raises UserError for
    what is no text, is empty, or is longer than n_ctx.

    >>> params, hparams, enc = model = gpt2.load('demo')
    >>> hparams.n_layer, enc.encode('Good night')
    (4, [38, 373, 851])
    """

    params: dict
    hparams: HParams
    enc: Encoder

    def __repr__(self) -> str:
        return f'Model({self.hparams}, {self.hparams.parameters:,} parameters)'

    def generate(self, text, **options) -> str | list[str]:
        """What continues a text; of several, made side by side, a list.

        options: those of SamplingOptions, by their names; length None is half of n_ctx. With
        num_beams the best text that is found.

        >>> model = gpt2.load('demo')
        >>> model.generate('I am', length=7, seed=1)
        ' not my loasted:'
        >>> model.generate(['Good night, good', 'I am'], length=3, temperature=0)
        [' night,\\n', ' a bra']
        """
        from . import asking

        return asking.generate(self, text, options)

    def stream(self, text, **options) -> Iterator[str]:
        """Yield what `generate` returns for one text, piece by piece, as it comes.

        >>> model = gpt2.load('demo')
        >>> ''.join(model.stream('I am', length=7, seed=1))
        ' not my loasted:'
        """
        from . import asking

        return asking.stream(self, text, options)

    def logits(self, text) -> np.ndarray | list[np.ndarray]:
        """For each token of a text the logits of the one after it: float32 [n, n_vocab].

        >>> model = gpt2.load('demo')
        >>> logits = model.logits('Good night, good')
        >>> logits.shape, model.enc.decode([logits[-1].argmax()])
        ((5, 1024), ' night')
        """
        from . import asking

        return asking.each(self, text, asking.logits)

    def next_tokens(self, text, k: int = 10) -> list:
        """The k most probable tokens after a text, with their probabilities, the best first.

        >>> model = gpt2.load('demo')
        >>> [(token, round(p, 2)) for token, p in model.next_tokens('Good night, good', k=2)]
        [(' night', 0.11), (' C', 0.08)]
        """
        from . import asking

        check_range('k', k, 1, self.hparams.n_vocab)
        return asking.each(self, text, lambda model, ids: asking.next_tokens(model, ids, k))

    def log_probs(self, text) -> list:
        """Each token of a text but the first, with its log-probability after those before it.

        The first has nothing before it, and no entry; where it is to have one, begin the ids with
        enc.end_of_text.

        >>> model = gpt2.load('demo')
        >>> [(token, round(p, 1)) for token, p in model.log_probs('Good night')]
        [('ood', -4.2), (' night', -2.9)]
        """
        from . import asking

        return asking.each(self, text, asking.log_probs)

    def hidden_states(self, text) -> np.ndarray | list[np.ndarray]:
        """The embedding of a text, then what each block makes of it: float32
        [n_layer + 1, n, n_embd].

        The last is as the last block leaves it; Transformers' is what the norm ln_f makes of that.

        >>> model = gpt2.load('demo')
        >>> model.hidden_states('Good night').shape
        (5, 3, 160)
        """
        from . import asking

        return asking.each(self, text, asking.hidden_states)

    def attentions(self, text) -> np.ndarray | list[np.ndarray]:
        """How much each token of a text looks at each, by layer and head: float32
        [n_layer, n_head, n, n]. A row adds up to 1, and what stands behind its token gets 0.

        >>> model = gpt2.load('demo')
        >>> model.attentions('Good night').shape
        (4, 4, 3, 3)
        """
        from . import asking

        return asking.each(self, text, asking.attentions)


class Found(NamedTuple):
    """A model's folder, and what is known of it before TensorFlow is there.

    prefix: of its checkpoint. name: the folder's, or the path by which it was asked for.
    """

    folder: Path
    hparams: HParams
    enc: Encoder
    prefix: Path
    name: str

    def load(self, precision: str | None = None) -> Model:
        """Start TensorFlow and load the parameters.

        precision: 'float32', 'bfloat16', 'float16' or 'int8' stores matrices in it and lays them
        out as sampling reads them fastest; None gives float32 variables of the checkpoint's own
        shapes.
        Raises UserError for a damaged checkpoint and for too little memory.

        >>> model = gpt2.find('demo').load()
        >>> model.params['wte'].shape
        TensorShape([1024, 160])
        """
        check_precision(precision or 'float32')
        runtime.start(precision or 'float32')
        from . import checkpoint, weights

        convert = precision and weights.for_sampling(precision)
        mend = 'set --precision bfloat16, or a smaller --model_name'
        with runtime.explained(mend), runtime.sparing():
            params = checkpoint.load_params(self.prefix, self.hparams, convert)
        return Model(params, self.hparams, self.enc)


def find(model_name: str = '124M', models_dir='models') -> Found:
    """The folder of a model, its hyperparameters and encoder; no TensorFlow yet.

    model_name: a name in `models_dir`, or a path, as model_folder.find_model has it. A relative
    `models_dir` is looked up in the working directory, then in this clone. Raises UserError where
    there is no such model or its files are broken.

    >>> gpt2.find('demo').hparams
    HParams(n_vocab=1024, n_ctx=256, n_embd=160, n_head=4, n_layer=4)
    """
    prefix = find_prefix(model_name, models_dir)
    folder, by_path = prefix.parent, len(Path(model_name).parts) > 1
    hparams = load_hparams(folder)
    enc = read_encoder(folder, hparams.n_vocab)
    return Found(folder, hparams, enc, prefix, str(model_name) if by_path else folder.name)


def load(model_name: str = '124M', models_dir='models', precision: str | None = None) -> Model:
    """A model by its name or its path. See find, and Found.load.

    >>> params, hparams, enc = gpt2.load('demo')
    """
    return find(model_name, models_dir).load(precision)
