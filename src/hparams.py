"""Hyperparameters: the five numbers that give a GPT-2 its shape. No TensorFlow."""

import dataclasses

from .errors import UserError


@dataclasses.dataclass(unsafe_hash=True)
class HParams:
    """n_vocab tokens, n_ctx positions, n_embd features, n_head heads, n_layer blocks."""

    n_vocab: int = 0
    n_ctx: int = 1024
    n_embd: int = 768
    n_head: int = 12
    n_layer: int = 12

    def override_from_dict(self, values: dict) -> 'HParams':
        """Set the named hyperparameters: {'n_layer': 24} -> 24 blocks. Returns self."""
        for name, value in values.items():
            if name not in self.__dict__:
                raise UserError(f'no hyperparameter is called {name!r}')
            if type(value) is not int or value < 1:
                raise UserError(f'{name} must be a whole number above 0, not {value!r}')
            setattr(self, name, value)
        if self.n_embd % self.n_head:
            raise UserError(f'n_embd {self.n_embd} does not divide into n_head {self.n_head}')
        return self


def default_hparams() -> HParams:
    """The smallest model's shape, with n_vocab left for hparams.json to say."""
    return HParams()
