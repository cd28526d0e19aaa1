"""The learning rate of each step. No TensorFlow."""

import math


def learning_rate_at(step: int, peak: float, warmup: int, decay: int, low: float) -> float:
    """Linear from 0 over `warmup` steps, then a cosine down to `low` at step `decay`, if any."""
    if step < warmup:
        return peak * (step + 1) / warmup
    if not decay:
        return peak
    done = min(1, (step - warmup) / max(1, decay - warmup))
    return low + (peak - low) * (1 + math.cos(math.pi * done)) / 2


def linear_rate_at(step: int, peak: float, warmup: int, end: int) -> float:
    """Linear from 0 over `warmup` steps, then linear down to 0 at step `end`."""
    if step < warmup:
        return peak * (step + 1) / warmup
    return peak * max(0, end - step) / max(1, end - warmup)
