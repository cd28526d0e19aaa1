"""From a model's name to all that is needed to use it."""

from pathlib import Path
from typing import NamedTuple

from . import runtime
from .encoder import Encoder, read_encoder
from .hparams import HParams
from .model_folder import find_model, load_hparams
from .options import check_precision


class Model(NamedTuple):
    """A model as it is used: params, a nested dict of tensors; hparams; enc, its encoder."""

    params: dict
    hparams: HParams
    enc: Encoder


class Found(NamedTuple):
    """A model's folder, and what is known of it before TensorFlow is there."""

    folder: Path
    hparams: HParams
    enc: Encoder

    def load(self, precision: str | None = None) -> Model:
        """Start TensorFlow and load the parameters.

        precision: 'float32', 'bfloat16' or 'float16' stores matrices in it and lays them out as
        sampling reads them fastest; None gives float32 variables of the checkpoint's own shapes.
        Raises UserError for a damaged checkpoint and for too little memory.
        """
        check_precision(precision or 'float32')
        runtime.start(precision or 'float32')
        from . import checkpoint, weights

        convert = precision and weights.for_sampling(precision)
        with runtime.explained('set --precision bfloat16, or a smaller --model_name'):
            params = checkpoint.load_params(self.folder, self.hparams, convert)
        return Model(params, self.hparams, self.enc)


def find(model_name: str = '124M', models_dir='models') -> Found:
    """The folder of a model, its hyperparameters and encoder; no TensorFlow yet.

    A relative `models_dir` is looked up in the working directory, then in this clone. Raises
    UserError where there is no such model or its files are broken.
    """
    folder = find_model(model_name, models_dir)
    return Found(folder, load_hparams(folder), read_encoder(folder))


def load(model_name: str = '124M', models_dir='models', precision: str | None = None) -> Model:
    """A model by its name: load('demo') -> (params, hparams, enc). See Found.load."""
    return find(model_name, models_dir).load(precision)
