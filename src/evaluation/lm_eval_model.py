"""The model as lm-eval, EleutherAI's harness, knows models.

Importing this registers it: lm_eval.simple_evaluate('gpt2-tf', 'model_name=124M', tasks=[...]).
"""

import dataclasses
import sys

import numpy as np
from lm_eval.api.model import TemplateLM
from lm_eval.api.registry import register_model
from lm_eval.models.utils import normalize_gen_kwargs
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window
from tqdm import tqdm

from .. import runtime
from ..completion import complete
from ..encoder import END_OF_TEXT
from ..errors import UserError
from ..loading import Model, load
from ..options import DRAWING, SamplingOptions
from .score import Scorer, say_cut

# Of the options that a task's YAML may set by their names, those that it has another way to set.
SET_HERE = {'length', 'temperature', 'stop', 'include_stop', 'seed', 'logprobs'}


@register_model('gpt2-tf')
class GPT2(TemplateLM):
    """A model, by name; the arguments are evaluate.py's flags."""

    def __init__(
        self,
        model_name: str = '124M',
        models_dir: str = 'models',
        batch_size=8,
        seed=1234,
        precision: str | None = None,
        device=None,  # lm-eval names one; TensorFlow takes its own
        max_batch_size=None,
    ):
        super().__init__()
        precision = None if precision == 'float32' else precision  # as evaluate.py has it
        self._use(load(model_name, models_dir, precision), int(batch_size), int(seed))

    @classmethod
    def of(cls, model: Model, batch_size: int = 8, seed: int = 1234) -> 'GPT2':
        """That of a model which is loaded already."""
        lm = cls.__new__(cls)
        TemplateLM.__init__(lm)
        lm._use(model, batch_size, seed)
        return lm

    def _use(self, model: Model, batch_size: int, seed: int) -> None:
        self.model, self.hparams, self.enc = model, model.hparams, model.enc
        self.seed, self.batch_size = seed, batch_size
        self.score = Scorer(model.params, model.hparams, batch_size).score

    @property
    def eot_token_id(self) -> int:
        return self.enc.end_of_text

    @property
    def max_length(self) -> int:
        return self.hparams.n_ctx

    def tok_encode(self, string: str, add_special_tokens=None, **_) -> list[int]:
        """As Transformers' tokenizer does: the letters <|endoftext|> are that token."""
        first, *rest = map(self.enc.encode, string.split(END_OF_TEXT))
        return first + [i for ids in rest for i in (self.eot_token_id, *ids)]

    def loglikelihood(self, requests, disable_tqdm: bool = False):
        return super().loglikelihood(requests, disable_tqdm or not sys.stderr.isatty())

    def _loglikelihood_tokens(self, requests, **_) -> list[tuple[float, bool]]:
        """(log-likelihood, whether greedy sampling gives it) of each request's continuation."""
        scores = self.score([(context, continuation) for _, context, continuation in requests])
        return [(float(logs.sum(dtype=np.float64)), bool(best.all())) for logs, best in scores]

    def loglikelihood_rolling(self, requests, disable_tqdm: bool = False) -> list[float]:
        """The log-likelihood of each text, in windows that overlap only where the text ends."""
        windows = [
            (number, *make_disjoint_window(window))
            for number, request in enumerate(requests)
            for window in get_rolling_token_windows(
                self.tok_encode(request.args[0]), self.prefix_token_id, self.max_length, 1
            )
        ]
        totals = [0.0] * len(requests)
        scores = self.score([window[1:] for window in windows], unit=' windows')
        for (number, *_), (logs, _) in zip(windows, scores, strict=True):
            totals[number] += float(logs.sum(dtype=np.float64))
        return totals

    def generate_until(self, requests, disable_tqdm: bool = False) -> list[str]:
        """The text after each context, up to the first of the strings that end it."""
        answers, groups, cut = [''] * len(requests), {}, 0
        for number, (context, kwargs) in enumerate(request.args for request in requests):
            kwargs = normalize_gen_kwargs(kwargs, min(256, self.max_length // 2))
            room = self.max_length - kwargs['max_gen_toks']
            if room < 1:
                raise UserError(
                    f'{kwargs["max_gen_toks"]} tokens of an answer leave no room for a question in '
                    f"the n_ctx of {self.max_length}; lower max_gen_toks in the task's YAML"
                )
            ids = self.tok_encode(context) or [self.prefix_token_id]
            cut += len(ids) > room
            ids = ids[-room:]
            group = groups.setdefault(repr(kwargs), (kwargs, []))
            group[1].append((number, ids))
        say_cut(cut, len(requests), self.max_length)
        with tqdm(requests, 'Generating', unit=' answers', leave=False, disable=None) as bar:
            for kwargs, group in groups.values():
                group.sort(key=lambda request: -len(request[1]))
                for start in range(0, len(group), self.batch_size):
                    numbers, contexts = zip(*group[start : start + self.batch_size], strict=True)
                    for number, answer in zip(
                        numbers, self._generate(contexts, kwargs, numbers[0]), strict=True
                    ):
                        answers[number] = answer
                    bar.update(len(numbers))
        return answers

    def _generate(self, contexts, kwargs: dict, number: int) -> list[str]:
        """Answers to contexts; `number` distinguishes a batch's random numbers."""
        rows = len(contexts)
        # A power of two, so that few sizes are compiled; what the last ones answer is not used.
        contexts = [*contexts, *[contexts[-1]] * ((1 << (rows - 1).bit_length()) - rows)]
        drawing = kwargs['do_sample']
        known = {field.name for field in dataclasses.fields(SamplingOptions)} - SET_HERE
        asked = {
            name: value
            for name, value in kwargs.items()
            if name in known and value is not None and (drawing or name not in DRAWING)
        }
        options = SamplingOptions(
            length=kwargs['max_gen_toks'],
            temperature=kwargs['temperature'] if drawing else int('num_beams' in asked),
            stop=[*filter(None, kwargs['until']), END_OF_TEXT],
            seed=int(np.random.SeedSequence([self.seed, number]).generate_state(1)[0]),
            **asked,
        )
        with runtime.explained(f'set a lower --batch_size than {self.batch_size}'):
            texts = complete(self.model, contexts, options)
        return [text.text for text in texts[:rows]]
