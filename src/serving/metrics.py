"""What a server has done, in Prometheus' text format. No TensorFlow."""

import time
from collections import Counter, deque

WINDOW = 10  # seconds over which tokens per second are counted
LIMITS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)  # seconds to the first token


class Metrics:
    """Counts of one model's engine, and of the requests for it by the status of their answers."""

    def __init__(self):
        self.requests = Counter()
        self.tokens = self.prompt_tokens = 0
        self.first, self.first_total = Counter(), 0.0
        self.recent = deque([(0, 0)], maxlen=WINDOW + 1)  # (second, tokens in it)

    def count_tokens(self, count: int) -> None:
        self.tokens += count
        second = int(time.monotonic())
        if self.recent[-1][0] == second:
            count += self.recent.pop()[1]
        self.recent.append((second, count))

    def count_first_token(self, seconds: float) -> None:
        self.first[next((limit for limit in LIMITS if seconds <= limit), None)] += 1
        self.first_total += seconds

    @property
    def tokens_per_second(self) -> float:
        """Of the last ten whole seconds."""
        now = int(time.monotonic())
        recent = list(self.recent)
        return sum(count for second, count in recent if now - WINDOW <= second < now) / WINDOW


def page(engines: dict) -> str:
    """The metrics of engines by the names of their models."""
    kinds = {
        'requests_total': ('counter', 'Answers by their status'),
        'generated_tokens_total': ('counter', 'Tokens drawn'),
        'prompt_tokens_total': ('counter', 'Tokens of prompts taken'),
        'running': ('gauge', 'Texts in the batch'),
        'waiting': ('gauge', 'Texts that wait for a place in it'),
        'tokens_per_second': ('gauge', f'Tokens drawn in the last {WINDOW} seconds, per second'),
        'time_to_first_token_seconds': ('histogram', 'From a request to its first token'),
    }
    figures = [figure for name, engine in engines.items() for figure in _figures(name, engine)]
    lines = []
    for kind, (sort, help) in kinds.items():
        lines += [f'# HELP gpt2_{kind} {help}', f'# TYPE gpt2_{kind} {sort}']
        lines += [f'gpt2_{kind}{rest}' for name, rest in figures if name == kind]
    return '\n'.join([*lines, ''])


def _figures(name: str, engine) -> list[tuple[str, str]]:
    """(metric, its labels and value)."""
    escaped = name.replace('\\', r'\\').replace('"', r'\"').replace('\n', r'\n')
    model, metrics = f'model="{escaped}"', engine.metrics
    figures = [
        ('requests_total', f'{{{model},code="{code}"}} {count}')
        for code, count in sorted(metrics.requests.items())
    ]
    figures += [
        (kind, f'{{{model}}} {value}')
        for kind, value in {
            'generated_tokens_total': metrics.tokens,
            'prompt_tokens_total': metrics.prompt_tokens,
            'running': engine.running,
            'waiting': engine.queued,
            'tokens_per_second': round(metrics.tokens_per_second, 3),
        }.items()
    ]
    first, total, kind = dict(metrics.first), 0, 'time_to_first_token_seconds'
    for limit in (*LIMITS, None):
        total += first.get(limit, 0)
        figures.append((kind, f'_bucket{{{model},le="{limit or "+Inf"}"}} {total}'))
    figures.append((kind, f'_sum{{{model}}} {metrics.first_total:.6f}'))
    figures.append((kind, f'_count{{{model}}} {total}'))
    return figures
