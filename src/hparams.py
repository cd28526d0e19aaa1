"""Hyperparameters: the five numbers that give a GPT-2 its shape, and in what a model may differ
from it: its GELU, and GPT-3's attention. No TensorFlow."""

import dataclasses

from .errors import UserError

ACTIVATIONS = ('gelu_new', 'gelu')  # GPT-2's own, and the GELU that it approximates
ATTENTIONS = ('dense', 'banded')  # to all earlier positions, or to those in a window
MOST_LAYERS, MOST_PARAMETERS = 10**4, 10**12  # 12 names for each layer; 4 TB of float32


@dataclasses.dataclass(unsafe_hash=True)
class HParams:
    """n_vocab tokens, n_ctx positions, n_embd features, n_head heads, n_layer blocks.

    attention: of ATTENTIONS, repeated over the blocks: ('dense', 'banded') is GPT-3's; none is
    GPT-2's, dense. window: how many positions a banded block looks at, the token's own the last.
    """

    n_vocab: int = 0
    n_ctx: int = 1024
    n_embd: int = 768
    n_head: int = 12
    n_layer: int = 12
    activation_function: str = dataclasses.field(default=ACTIVATIONS[0], repr=False)
    attention: tuple[str, ...] = dataclasses.field(default=(), repr=False)
    window: int | None = dataclasses.field(default=None, repr=False)

    def override_from_dict(self, values: dict) -> 'HParams':
        """Set the named hyperparameters: {'n_layer': 24} -> 24 blocks. Returns self."""
        for name, value in values.items():
            if name not in self.__dict__:
                raise UserError(f'no hyperparameter is called {name!r}')
            if name == 'activation_function':
                if value not in ACTIVATIONS:
                    known = ' or '.join(ACTIVATIONS)
                    raise UserError(f'activation_function is {known}, not {value!r:.40}')
                self.activation_function = value
                continue
            if name == 'attention':
                self.attention = _checked_attention(value)
                continue
            most = MOST_LAYERS if name == 'n_layer' else MOST_PARAMETERS
            if type(value) is not int or not 0 < value <= most:
                raise UserError(
                    f'{name} must be a whole number above 0, up to {most:,}, not {value!r:.40}'
                )
            setattr(self, name, value)
        self._check_window()
        if self.n_embd % self.n_head:
            raise UserError(f'n_embd {self.n_embd} does not divide into n_head {self.n_head}')
        parameters = self.n_embd * (self.n_vocab + self.n_ctx + 12 * self.n_embd * self.n_layer)
        if parameters > MOST_PARAMETERS:
            raise UserError(
                f'{self} has {parameters:,} parameters, and no machine holds more than '
                f'{MOST_PARAMETERS:,}'
            )
        return self

    def _check_window(self) -> None:
        """UserError where a block has no window, or a window no block; all dense is GPT-2's."""
        if ('banded' in self.attention) > (self.window is not None) or (
            self.window is not None and not self.attention
        ):
            raise UserError(
                'window, the number of positions that a banded block looks at, and attention, a '
                'list with "banded" in it, go together; set both, or none'
            )
        if 'banded' not in self.attention:
            self.attention, self.window = (), None

    def to_dict(self) -> dict:
        """What hparams.json says: OpenAI's five, and what is other than in GPT-2."""
        values = dict(vars(self))
        for field in dataclasses.fields(self):
            if not field.repr and values[field.name] == field.default:
                del values[field.name]
        return {name: [*x] if name == 'attention' else x for name, x in values.items()}

    def window_of(self, layer: int) -> int | None:
        """How many positions a block looks at, itself the last; None for all before it."""
        banded = self.attention and self.attention[layer % len(self.attention)] == 'banded'
        return self.window if banded else None

    @property
    def parameters(self) -> int:
        """How many numbers a model of this shape has: 124,439,808 for the smallest."""
        per_layer = 12 * self.n_embd + 13
        return self.n_embd * (self.n_vocab + self.n_ctx + self.n_layer * per_layer + 2)


def _checked_attention(value) -> tuple[str, ...]:
    known = isinstance(value, list | tuple) and all(kind in ATTENTIONS for kind in value)
    if not known or not value:
        raise UserError(
            f'attention is a list of "dense" and "banded", one or more, not {value!r:.40}'
        )
    return tuple(value)


def default_hparams() -> HParams:
    """The smallest model's shape, with n_vocab left for hparams.json to say."""
    return HParams()
