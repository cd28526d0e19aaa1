"""benchmarks/distribution.py: the picture's bars are what it says of them."""

import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from conftest import ROOT

SVG = '{http://www.w3.org/2000/svg}'
SCRIPT = 'benchmarks/distribution.py'


def read(path):
    """{title: (how many tokens are kept, bars before, bars after)}, as parts of the whole."""
    found = {}
    for panel in ET.parse(path).iter(f'{SVG}g'):
        title, said = (text.text for text in list(panel.iter(f'{SVG}text'))[:2])
        bars = {'before': {}, 'after': {}}
        for bar in panel.iter(f'{SVG}rect'):
            row = int((float(bar.get('y')) + float(bar.get('height')) / 2) // 17)
            bars[bar.get('class')][row] = float(bar.get('width'))
        before = np.array(list(bars['before'].values()))
        after = np.array([bars['after'].get(row, 0) for row in bars['before']])
        kept = int(re.match(r'[\d,]+', said)[0].replace(',', ''))
        found[title] = kept, before / before.sum(), after / before.sum()
    return found


@pytest.fixture
def panels(run, tmp_path):
    """Of a picture of the demo model, with a row for each of 12 tokens and one for the others."""
    done = run(SCRIPT, '--models_dir', ROOT / 'models', '--prompt', 'A <b> & "\n')
    assert (done.returncode, done.stdout) == (0, '')
    return read(tmp_path / 'distribution.svg')


def test_bars_are_what_each_truncation_keeps(panels):
    assert [len(before) for _, before, _ in panels.values()] == [13] * 6
    for _, before, after in panels.values():
        assert after.sum() == pytest.approx(1, abs=1e-3)
        assert before == pytest.approx(panels['as the model has it'][2], abs=1e-3)
    kept, before, after = panels['temperature 0.7']
    warmer = before[:12] ** (1 / 0.7)
    assert kept == 1024
    assert after[:12] / after[0] == pytest.approx(warmer / warmer[0], abs=0.02)

    # The others are scaled up: all that is kept is 1.
    mass = {}
    for title in ('top_k 5', 'top_p 0.5', 'min_p 0.1', 'typical_p 0.5'):
        kept, before, after = panels[title]
        there = after[:12] > 0
        scales = before[:12][there] / after[:12][there]
        mass[title] = scales.mean()
        assert scales == pytest.approx(mass[title], rel=0.05), title
        assert there.sum() == kept or after[12] > 0
    assert list(panels['top_k 5'][2] > 0) == [True] * 5 + [False] * 8
    kept, before, after = panels['min_p 0.1']
    assert list(after[:12] > 0) == list(before[:12] >= 0.1 * before[0])
    # The token that crosses p is out with top_p, and in with typical_p.
    assert mass['top_p 0.5'] <= 0.5 <= mass['typical_p 0.5'] + 1e-3


def test_the_page_shows_what_the_script_draws(run, tmp_path):
    done = run(SCRIPT, '--models_dir', ROOT / 'models', '--output_path', 'picture.svg')
    assert (done.returncode, done.stderr) == (0, '')
    shown, drawn = (
        re.sub(r'\d+\.\d+|\d+%', '', path.read_text('utf-8'))
        for path in (ROOT / 'docs' / 'distribution.svg', tmp_path / 'picture.svg')
    )
    assert shown == drawn
