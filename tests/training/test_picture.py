"""losses.svg shows what losses.csv has."""

import re
import xml.etree.ElementTree as ET

import pytest

from gpt2.training.losses import Loss
from gpt2.training.picture import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, ticks, write_picture

SVG = '{http://www.w3.org/2000/svg}'


def read(path):
    """({kind: points of its line}, texts) of a picture."""
    svg = ET.parse(path).getroot()
    lines = {}
    for line in svg.iter(f'{SVG}path'):
        points = [tuple(map(float, p)) for p in re.findall(r'([\d.]+),([\d.]+)', line.get('d'))]
        lines.setdefault(line.get('class'), points)
    return lines, [text.text for text in svg.iter(f'{SVG}text')]


def test_the_lines_are_the_losses(tmp_path):
    path = tmp_path / 'losses.svg'
    rows = [Loss(step, 9.0, 6.0 - step, 5.0 if step in (2, 4) else None) for step in range(1, 6)]
    write_picture(path, 'a & <b>', rows)
    lines, texts = read(path)
    assert 'The losses of a & <b>, 5 steps' in texts
    assert {'1', '5', 'step', 'validation', 'training, average'} <= {*texts}
    width, height = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
    assert lines['average'] == [
        (LEFT + width * i / 4, pytest.approx(TOP + height * i / 4)) for i in range(5)
    ]
    assert lines['validation'] == [(LEFT + width * i / 4, TOP) for i in (1, 3)]
    assert 'prefers-color-scheme: dark' in path.read_text()
    assert [p.name for p in tmp_path.iterdir()] == ['losses.svg']


def test_one_step_and_many(tmp_path):
    path = tmp_path / 'losses.svg'
    write_picture(path, 'a', [Loss(7, 2.0, 2.0)])
    lines, texts = read(path)
    assert len(lines['average']) == 1 and 'validation' not in texts
    write_picture(path, 'a', [Loss(step, 2.0, 2.0) for step in range(1, 100_001)])
    assert path.stat().st_size < 50_000 and read(path)[0]['average'][-1][0] == WIDTH - RIGHT


@pytest.mark.parametrize(
    'low, high, expected',
    [
        (1.9, 4.2, [2, 2.5, 3, 3.5, 4]),
        (0, 120, [0, 20, 40, 60, 80, 100, 120]),
        (6.5, 7.5, [6.6, 6.8, 7, 7.2, 7.4]),
        (1, 4, [1, 1.5, 2, 2.5, 3, 3.5, 4]),
    ],
)
def test_ticks_are_round(low, high, expected):
    assert ticks(low, high) == pytest.approx(expected)
