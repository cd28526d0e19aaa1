"""The notebooks run from the first cell to the last, and print what is stored in them.

    python tests/test_notebooks.py            runs all and stores what they print
    python tests/test_notebooks.py decoding   runs one

Compared is what a cell prints, but for cells tagged `varies`: what has no seed, depends on the
machine, or is sampled from a model that was trained here, as training makes much of a last bit.
Where a seed is given, the demo's samples are compared as the README's are: another processor's
rounding would have to move a probability across a drawn number. Numbers with a point may differ by
one in their last digit and 0.1%, in cells tagged `trained` by 5%. Pictures are not compared.
"""

import os
import re
import shutil
import sys
import tempfile
from pathlib import Path

import nbclient
import nbformat
import pytest
from jupyter_client.manager import start_new_kernel

from conftest import ROOT

NOTEBOOKS = sorted(ROOT.glob('notebooks/*.ipynb'))
BAR = re.compile(r'^.*\[\d\d:\d\d<.*\n', re.M)
NUMBER = re.compile(r'-?\d+\.\d+(?:[eE][+-]?\d+)?')


@pytest.fixture(autouse=True)
def own_folders(tmp_path, monkeypatch):
    """Kernels leave nothing in the user's folders."""
    monkeypatch.setenv('IPYTHONDIR', str(tmp_path / 'ipython'))
    monkeypatch.setenv('JUPYTER_RUNTIME_DIR', str(tmp_path / 'runtime'))


def run(path, folder, **options):
    """A notebook with what its cells give, in a copy of the clone."""
    for source in [*ROOT.glob('*.py'), ROOT / 'models' / 'demo']:
        target = folder / source.relative_to(ROOT)
        (shutil.copytree if source.is_dir() else shutil.copy)(source, target)
    (folder / 'notebooks').mkdir()
    notebook = nbformat.read(path, 4)
    client = nbclient.NotebookClient(
        notebook,
        timeout=180,
        kernel_name='python3',
        record_timing=False,
        resources={'metadata': {'path': folder / 'notebooks'}},
        **options,
    )
    search = os.pathsep.join([str(Path(sys.executable).parent), os.environ['PATH']])
    client.execute(env=os.environ | {'PATH': search})
    for cell in notebook.cells:
        if cell.cell_type == 'code':
            cell.outputs = as_seen(cell.outputs)
    return notebook


def as_seen(outputs):
    """Pieces of a stream as one, without what a terminal would have written over."""
    seen = []
    for output in outputs:
        if seen and output.output_type == 'stream' and seen[-1].get('name') == output.name:
            seen[-1].text += output.text
        else:
            seen.append(output)
    for output in seen:
        if output.output_type == 'stream':
            output.text = re.sub(r'[^\n]*\r(?!\n)', '', output.text.replace('\r\n', '\n'))
    return seen


def printed(cell):
    """What a cell says, in text, but for bars that are full."""
    outputs = cell.get('outputs', [])
    streams = [output.text for output in outputs if output.output_type == 'stream']
    values = [output.data.get('text/plain', '') for output in outputs if 'data' in output]
    return BAR.sub('', ''.join([*streams, *values]))


def differences(stored, new, tags):
    """What of a printed text is other than was stored; numbers with a point may be near."""
    if NUMBER.sub('#', stored) != NUMBER.sub('#', new):
        return [(stored, new)]
    share = 0.05 if 'trained' in tags else 0.001
    pairs = zip(NUMBER.findall(stored), NUMBER.findall(new), strict=True)
    return [pair for pair in pairs if not near(*pair, share)]


def near(one, other, share):
    """'5.39', '5.40' -> True: one in the last digit, or a share of both."""
    mantissa, _, power = one.lower().partition('e')
    last = 10.0 ** (int(power or 0) - len(mantissa.partition('.')[2]))
    return abs(float(one) - float(other)) <= 1.01 * last + share * abs(float(one))


@pytest.mark.parametrize('path', NOTEBOOKS, ids=lambda path: path.stem)
def test_prints_what_is_stored(path, tmp_path):
    stored, new = nbformat.read(path, 4), run(path, tmp_path)
    for number, cells in enumerate(zip(stored.cells, new.cells, strict=True)):
        tags, texts = cells[0].metadata.get('tags', []), list(map(printed, cells))
        if 'varies' not in tags:
            where = f'cell {number} of {path.name}:\n{cells[0].source}\n'
            assert not differences(*texts, tags), where


def test_the_notebooks_of_the_chapter_are_there():
    names = {path.stem for path in NOTEBOOKS}
    assert names == {'text_completion', 'fine_tuning', 'decoding', 'inside_gpt2'}


def test_a_box_asks_for_contexts():
    """interact_model as the book has it, in a kernel whose frontend types one, then stops it."""
    manager, client = start_new_kernel(cwd=ROOT)
    try:
        asked, said = [], []

        def type_in(message):
            asked.append(message['content']['prompt'])
            if len(asked) == 1:
                client.input('ROMEO:')
            else:
                manager.interrupt_kernel()

        code = 'from interactive_conditional_samples import interact_model\n'
        code += "interact_model('demo', None, 1, 1, 20, 1, 0)"
        reply = client.execute_interactive(
            code,
            allow_stdin=True,
            stdin_hook=type_in,
            output_hook=lambda message: said.append(message['content'].get('text', '')),
            timeout=120,
        )
        assert reply['content']['status'] == 'ok', reply['content']
        assert asked == ['Model prompt >>> '] * 2
        assert ' SAMPLE 1 ' in ''.join(said)
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


def test_the_books_files_would_overwrite_nothing_in_src():
    for name in ('train.py', 'encode.py', 'load_dataset.py', 'interactive_conditional_samples.py'):
        assert not (ROOT / 'src' / name).exists()


def test_a_drift_is_found():
    assert not differences('loss 5.39, 3 tokens', 'loss 5.40, 3 tokens', [])
    assert differences('loss 5.39, 3 tokens', 'loss 5.42, 3 tokens', [])
    assert not differences('loss 5.39', 'loss 5.52', ['trained'])
    assert differences('loss 5.39, 3 tokens', 'loss 5.39, 4 tokens', ['trained'])
    assert not differences('1.7955e+10', '1.7956e+10', [])
    assert differences('Good night', 'Good knight', [])


if __name__ == '__main__':
    for path in NOTEBOOKS:
        if path.stem in sys.argv[1:] or not sys.argv[1:]:
            with tempfile.TemporaryDirectory() as folder:
                nbformat.write(run(path, Path(folder)), path)
            print(path)
