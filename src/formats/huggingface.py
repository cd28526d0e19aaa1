"""Hugging Face's folders of a GPT-2, as Transformers reads and writes them, in and out.

What needs no TensorFlow is looked at before it starts.
"""

import json
from pathlib import Path

import numpy as np
from tqdm import tqdm

from .. import files, runtime
from ..encoder import read_encoder
from ..errors import UserError
from ..loading import Found
from ..training.run_folder import TASK
from .card import card
from .config import config_of, hparams_of, read_config
from .tensors import WEIGHTS, Tensors, write_header
from .vocabulary import read_vocabulary, written_vocabulary

ENDS = {'w': 'weight', 'g': 'weight', 'b': 'bias'}
PREFIX, HEAD = 'transformer.', 'lm_head.weight'
BUFFERS = ('.attn.bias', '.attn.masked_bias')  # the mask, and what it puts in place of scores
BAR = {'delay': 1, 'leave': False, 'disable': None, 'unit': ' variables'}


def their_name(name: str) -> str:
    """'h0/attn/c_attn/w' -> 'h.0.attn.c_attn.weight', 'wte' -> 'wte.weight'"""
    first, *scopes = name.split('/')
    last = ENDS[scopes.pop()] if scopes else 'weight'
    block = [first[0], first[1:]] if first[1:].isdigit() else [first]
    return '.'.join([*block, *scopes, last])


def from_huggingface(folder: Path, to: Path) -> None:
    """Make a model folder of a Hugging Face folder; float32 stays as it is, bit for bit.

    Raises UserError for what is missing, damaged, or no GPT-2; then nothing is written.
    """
    config = read_config(folder)
    hparams = hparams_of(config, folder / 'config.json')
    vocabulary = read_vocabulary(folder, config)
    tensors = Tensors(folder)
    runtime.start()
    from ..params import param_shapes

    shapes = param_shapes(hparams)
    names = find_names(tensors, shapes, folder)
    with files.writing_folder(to) as aside:
        for name, content in vocabulary.items():
            (aside / name).write_bytes(content)
        check_vocabulary(aside, folder, hparams.n_vocab)
        (aside / 'hparams.json').write_text(json.dumps(hparams.to_dict(), indent=2) + '\n', 'utf-8')
        check_head(tensors, names['wte'], folder)
        write_checkpoint(tensors, names, shapes, aside)


def write_checkpoint(tensors: Tensors, names: dict, shapes: dict, folder: Path) -> None:
    import tensorflow as tf

    from .. import checkpoint
    from ..params import nest

    params = {}
    # The largest first: what reading takes beside it is there before the others are.
    for name in tqdm(sorted(names, key=lambda name: -np.prod(shapes[name])), 'Reading', **BAR):
        array = tensors.read(names[name]).reshape(shapes[name])
        params[name] = tf.experimental.dlpack.from_dlpack(array.__dlpack__())  # no copy
    with runtime.waiting('Writing ...'):
        checkpoint.write_params(folder / 'model.ckpt', nest(params))


def check_vocabulary(written: Path, source: Path, n_vocab: int) -> None:
    """Raise UserError, about its source, where a vocabulary that was written is broken."""
    try:
        read_encoder(written, n_vocab)
    except UserError as error:
        reason = error.__cause__ or str(error).partition(';')[0].replace(str(written), 'it')
        raise UserError(f'{source} holds no vocabulary: {reason}; fetch it anew') from error


def find_names(tensors: Tensors, shapes: dict, folder: Path) -> dict[str, str]:
    """{our name: theirs}; UserError for what is missing, of another shape, or too much."""
    prefix, names = PREFIX if f'{PREFIX}wte.weight' in tensors.shapes else '', {}
    for name, shape in shapes.items():
        theirs = names[name] = prefix + their_name(name)
        found, wanted = tensors.shapes.get(theirs), shape[1:] if name.endswith('/w') else shape
        if found is None:
            what = f'{folder} has no tensor {theirs}, which config.json asks for'
            raise UserError(f'{what}; fetch both anew')
        if found != wanted:
            raise UserError(
                f'{folder} has {theirs} in the shape {list(found)}, not the {list(wanted)} that '
                'config.json asks for; fetch both anew'
            )
    left = set(tensors.shapes) - {*names.values(), HEAD}
    if surplus := sorted(name for name in left if not name.endswith(BUFFERS)):
        raise UserError(f'{folder} has {surplus[0]}, which GPT-2 has not; name a model of GPT-2')
    return names


def check_head(tensors: Tensors, wte: str, folder: Path) -> None:
    """Raise UserError where the logits are not computed by wte, but by other weights."""
    if HEAD in tensors.shapes and not np.array_equal(
        tensors.raw(HEAD).view(np.uint8), tensors.raw(wte).view(np.uint8)
    ):
        raise UserError(
            f'{folder} has a {HEAD} other than {wte}, which GPT-2 computes its logits by; name a '
            'model that ties both'
        )


def check_attention(found: Found) -> None:
    """UserError for a model that Transformers would compute otherwise."""
    if found.hparams.attention:
        raise UserError(
            f"{found.folder} has banded attention, which Transformers' GPT2 has not; train a model "
            'with --attention dense, or run: python convert.py to_saved_model'
        )


def to_huggingface(found: Found, to: Path) -> None:
    """Make a folder of a model that Transformers' from_pretrained opens, float32, bit for bit.

    With its head, where it has learnt a task. Raises UserError where Transformers has no such head,
    and for banded attention.
    """
    check_attention(found)
    runtime.start()
    from .. import checkpoint
    from ..params import param_shapes

    hparams, end = found.hparams, found.enc.end_of_text
    shapes = {name: shape[name.endswith('/w') :] for name, shape in param_shapes(hparams).items()}
    checkpoint.check_shapes(found.prefix, hparams)
    head, about_head = read_head(found)
    texts = {
        'config.json': config_of(hparams, end) | about_head,
        'generation_config.json': {'bos_token_id': end, 'eos_token_id': end},
    }
    with files.writing_folder(to) as aside:
        for name, content in written_vocabulary(found.folder, found.enc, hparams.n_ctx).items():
            (aside / name).write_bytes(content)
        for name, value in texts.items():
            (aside / name).write_text(json.dumps(value, indent=2) + '\n', 'utf-8')
        (aside / 'README.md').write_text(card(found.name, hparams), 'utf-8')
        with open(aside / WEIGHTS, 'wb') as file:
            header = {PREFIX + their_name(name): shape for name, shape in shapes.items()}
            write_header(file, header | {name: array.shape for name, array in head.items()})
            for name in tqdm(shapes, 'Writing', **BAR):
                with checkpoint.reading(found.prefix):
                    value = checkpoint.restore(found.prefix, f'model/{name}')
                file.write(np.ascontiguousarray(value.numpy()).data)
            for array in head.values():
                file.write(np.ascontiguousarray(array).data)


def read_head(found: Found) -> tuple[dict[str, np.ndarray], dict]:
    """The head of a model that has learnt a task, in Transformers' names, and what config.json
    says of it."""
    if not (found.folder / TASK).exists():
        return {}, {}
    from ..classification import export, head, task

    learnt, own = task.read_task(found.folder), head.load_head(found.prefix)
    about = export.transformers_config(learnt, own, found.enc.end_of_text)
    return export.transformers_head(learnt, own), about
