"""losses.svg: a run's losses, drawn. No TensorFlow."""

import math
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from pathlib import Path

from .. import files
from .losses import Loss

WIDTH, HEIGHT = 720, 400
LEFT, RIGHT, TOP, BOTTOM = 64, 24, 56, 44  # around the plot
POINTS = 1000  # of a line, at most
STYLE = """
svg { background: #ffffff; font: 12px ui-monospace, Menlo, Consolas, monospace; }
text { fill: #59636e; } .title { fill: #1f2328; font-weight: bold; }
path, line { fill: none; } .grid { stroke: #d1d9e0; }
.average { stroke: #0969da; stroke-width: 2; } .validation { stroke: #bc4c00; stroke-width: 2; }
@media (prefers-color-scheme: dark) {
  svg { background: #0d1117; } text { fill: #9198a1; } .title { fill: #f0f6fc; }
  .grid { stroke: #3d444d; } .average { stroke: #4493f8; } .validation { stroke: #f0883e; }
}
"""


def write_picture(path: Path, name: str, rows: Sequence[Loss]) -> None:
    """The average of the losses, and the validation loss, by the step. Raises UserError."""
    files.write(path, ET.tostring(picture_of(name, rows), 'utf-8', xml_declaration=True))


def picture_of(name: str, rows: Sequence[Loss]) -> ET.Element:
    """An <svg> with a line for each of both; rows: at least one."""
    average = _thin([(row.step, row.average) for row in rows])
    validation = [(row.step, row.validation) for row in rows if row.validation is not None]
    svg = ET.Element(
        'svg',
        xmlns='http://www.w3.org/2000/svg',
        viewBox=f'0 0 {WIDTH} {HEIGHT}',
        width=str(WIDTH),
    )
    ET.SubElement(svg, 'style').text = STYLE
    _say(svg, LEFT, 22, f'The losses of {name}, {rows[-1].step} steps', 'title')
    points = average + validation
    across = _scale([step for step, _ in points], LEFT, WIDTH - RIGHT)
    up = _scale([loss for _, loss in points], HEIGHT - BOTTOM, TOP)
    for value in ticks(*across.ends):
        _say(svg, across(value), HEIGHT - BOTTOM + 20, f'{value:g}', anchor='middle')
    for value in ticks(*up.ends):
        places = {'x1': LEFT, 'x2': WIDTH - RIGHT, 'y1': up(value), 'y2': up(value)}
        ET.SubElement(svg, 'line', {'class': 'grid'} | {k: f'{v:.1f}' for k, v in places.items()})
        _say(svg, LEFT - 8, up(value) + 4, f'{value:g}', anchor='end')
    _say(svg, WIDTH - RIGHT, HEIGHT - 6, 'step', anchor='end')
    for number, (kind, line) in enumerate((('average', average), ('validation', validation))):
        if line:
            _draw(svg, kind, [(across(step), up(loss)) for step, loss in line], LEFT + 230 * number)
    return svg


class _scale:
    """Where a value stands between two pixels, that of the least and that of the largest."""

    def __init__(self, values: Sequence[float], first: float, last: float):
        low, high = min(values), max(values)
        if high - low < 1e-6 * max(1, abs(high)):
            low, high = low - 0.5, high + 0.5
        self.ends, self.first, self.last = (low, high), first, last

    def __call__(self, value: float) -> float:
        low, high = self.ends
        return self.first + (self.last - self.first) * (value - low) / (high - low)


def ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Round numbers between two: ticks(1.9, 4.2) -> [2.0, 2.5, 3.0, 3.5, 4.0]."""
    power = 10 ** math.floor(math.log10((high - low) / most))
    step = next(power * n for n in (1, 2, 5, 10) if (high - low) / (power * n) <= most)
    return [n * step for n in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _thin(points: list) -> list:
    """Some of the points, the last of all among them."""
    every = -(-len(points) // POINTS)
    return points[::-every][::-1]


def _draw(svg, kind: str, points: list, x: float) -> None:
    """A line, and its name above the plot."""
    path = 'M' + ' '.join(f'{x:.1f},{y:.1f}' for x, y in points)
    ET.SubElement(svg, 'path', {'class': kind, 'd': path + ' h0.01', 'stroke-linecap': 'round'})
    ET.SubElement(svg, 'path', {'class': kind, 'd': f'M{x},40 h24'})
    text = {'average': 'training, average', 'validation': 'validation'}[kind]
    _say(svg, x + 32, 44, text)


def _say(parent, x: float, y: float, text: str, kind: str = '', anchor: str = 'start') -> None:
    places = {'x': f'{x:.1f}', 'y': f'{y:.1f}', 'text-anchor': anchor}
    ET.SubElement(parent, 'text', places | ({'class': kind} if kind else {})).text = text
