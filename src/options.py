"""What a sampler may be asked for, checked before anything slow begins. No TensorFlow."""

from .errors import UserError
from .hparams import HParams


def check_precision(precision: str) -> None:
    if precision not in ('float32', 'bfloat16', 'float16'):
        raise UserError(f'--precision is float32, bfloat16 or float16, not {precision}')


def check_options(
    hparams: HParams,
    *,
    seed: int | None = None,
    nsamples: int = 1,
    batch_size: int = 1,
    length: int | None = None,
    temperature: float = 1,
    top_k: int = 0,
    top_p: float = 1,
    precision: str | None = None,
) -> None:
    """Raise UserError for the first option that is out of its range; None means unset."""
    if precision is not None:
        check_precision(precision)
    for name, value, low, high in (
        ('seed', seed, 0, None),
        ('nsamples', nsamples, 0, None),
        ('batch_size', batch_size, 1, None),
        ('length', length, 1, hparams.n_ctx),
        ('temperature', temperature, 0, None),
        ('top_k', top_k, 0, None),
        ('top_p', top_p, 0, 1),
    ):
        if value is None or (low <= value < float('inf') and (high is None or value <= high)):
            continue
        limits = f'at least {low}' if high is None else f'from {low} to {high}'
        raise UserError(f'{name} is {limits}, not {value}; set --{name} to such a number')
