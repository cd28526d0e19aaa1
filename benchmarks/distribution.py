"""Draws how probable each next token is after a prompt, before and after each truncation."""

import numbers
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np

import gpt2
from gpt2 import cli, files
from gpt2.options import SamplingOptions, check_range, with_help
from gpt2.paths import check_parent, expanded

ROWS = 12  # tokens that have a bar of their own; one more bar is for all the others
COLUMNS = 3
LABELS, PANEL, ROW, TOP = 96, 264, 17, 52  # pixels: widths, heights
FULL = 300  # pixels for a probability of 1, or fewer where such a bar has no room

STYLE = """
svg { background: #ffffff; font: 12px ui-monospace, Menlo, Consolas, monospace; }
text { fill: #1f2328; } .title { font-weight: bold; } .small { fill: #59636e; font-size: 11px; }
.before { fill: #d1d9e0; } .after { fill: #0969da; }
@media (prefers-color-scheme: dark) {
  svg { background: #0d1117; } text { fill: #f0f6fc; } .small { fill: #9198a1; }
  .before { fill: #3d444d; } .after { fill: #4493f8; }
}
"""


@with_help
def draw(
    model_name: str = 'demo',
    prompt: str = 'Good night, good',
    temperature: float = 0.7,
    top_k: int = 5,
    top_p: float = 0.5,
    min_p: float = 0.1,
    typical_p: float = 0.5,
    output_path: str = 'distribution.svg',
    models_dir: str = 'models',
):
    """
    Draw the next token's distribution, before and after each truncation

    :prompt=Good night, good : What the token follows
    :output_path=distribution.svg : Path to the picture
    """
    path = Path(expanded(output_path))
    check_parent(path)
    check_range('temperature', temperature, 0.01, kind=numbers.Real)
    asked = {
        'temperature': temperature,
        'top_k': top_k,
        'top_p': top_p,
        'min_p': min_p,
        'typical_p': typical_p,
    }
    truncations = {name: SamplingOptions(**{name: value}) for name, value in asked.items()}
    model = gpt2.load(model_name, models_dir)
    tokens, logs = next_token(model, prompt)
    before = np.exp(logs)
    panels = {'as the model has it': before}
    panels |= {f'{name} {asked[name]}': after(logs, truncations[name]) for name in asked}
    labels = [visible(model.enc.decode([token])) for token in tokens[:ROWS]]
    picture = picture_of(prompt, [*labels, 'all others'], before, panels)
    files.write(path, ET.tostring(picture, 'utf-8', xml_declaration=True))


def next_token(model, prompt: str) -> tuple[list[int], np.ndarray]:
    """All tokens, the most probable after the prompt first, and their log-probabilities."""
    from gpt2 import sample

    options = SamplingOptions(length=1, temperature=0, logprobs=model.hparams.n_vocab)
    drawn = next(sample.generate(model.params, model.hparams, [model.enc.encode(prompt)], options))
    tokens, logs = (x[0, 0] for x in drawn.best)
    return tokens.tolist(), logs


def after(logs: np.ndarray, options: SamplingOptions) -> np.ndarray:
    """The probabilities [n_vocab] that tokens are drawn by."""
    import tensorflow as tf

    from gpt2 import processors, sample

    settings = processors.settings_of(options, len(logs))
    return tf.nn.softmax(sample.truncated(tf.constant(logs[None]), settings))[0].numpy()


def visible(text: str) -> str:
    """'\\n night' -> '↵␣night'; what cannot be shown becomes a sign that says so."""
    text = text.replace('\n', '↵').replace(' ', '␣')
    return ''.join(letter if letter.isprintable() else '\ufffd' for letter in text)


def bars(probabilities: np.ndarray) -> np.ndarray:
    """Those of the first tokens, and the sum of all the others [ROWS + 1]."""
    return np.append(probabilities[:ROWS], probabilities[ROWS:].sum())


def picture_of(prompt: str, labels: list[str], before: np.ndarray, panels: dict) -> ET.Element:
    """The picture: a panel for each of `panels`, {title: probabilities [n_vocab]}."""
    height = TOP + ROW * (ROWS + 1) + 14
    width = LABELS + PANEL * COLUMNS
    lines = -(-len(panels) // COLUMNS)
    longest = max(bars(after).max() for after in panels.values())
    scale = min(FULL, (PANEL - 60) / longest)
    svg = ET.Element(
        'svg',
        xmlns='http://www.w3.org/2000/svg',
        viewBox=f'0 0 {width} {30 + height * lines}',
        width=str(width),
    )
    ET.SubElement(svg, 'style').text = STYLE
    say(
        svg,
        12,
        22,
        f'The next token after {prompt!r}: pale as the model has it, blue what is drawn from',
        'title',
    )
    for number, (title, probabilities) in enumerate(panels.items()):
        line, column = divmod(number, COLUMNS)
        y = 30 + height * line
        if column == 0:
            for row, label in enumerate(labels):
                say(svg, LABELS - 8, y + TOP + ROW * row + 12, label, anchor='end')
        panel = ET.SubElement(
            svg, 'g', {'class': 'panel', 'transform': f'translate({LABELS + PANEL * column} {y})'}
        )
        fill(panel, title, before, probabilities, scale)
    return svg


def fill(panel, title: str, before: np.ndarray, after: np.ndarray, scale: float) -> None:
    """Draw the bars of one distribution, over pale ones of the distribution before."""
    kept = after > 0
    said = f'{kept.sum():,} of {len(kept):,} tokens, {before[kept].sum():.0%} before'
    say(panel, 0, 22, title, 'title')
    say(panel, 0, 40, said, 'small')
    for row, (pale, full) in enumerate(zip(bars(before), bars(after), strict=True)):
        y = TOP + ROW * row
        bar(panel, 'before', y, 13, pale * scale)
        if full > 0:
            bar(panel, 'after', y + 3, 7, full * scale)
            say(panel, max(pale, full) * scale + 5, y + 11, f'{full:.1%}', 'small')


def bar(parent, kind: str, y: float, height: float, width: float) -> None:
    places = {'x': '0', 'y': str(y), 'height': str(height), 'width': f'{width:.3f}'}
    ET.SubElement(parent, 'rect', {'class': kind} | places)


def say(parent, x: float, y: float, text: str, kind: str = 'label', anchor: str = 'start') -> None:
    places = {'x': f'{x:.1f}', 'y': str(y), 'text-anchor': anchor}
    ET.SubElement(parent, 'text', {'class': kind} | places).text = text


if __name__ == '__main__':
    cli.run(draw)
