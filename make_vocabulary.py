#!/usr/bin/env python3
"""Makes a byte-level BPE vocabulary of a text's own, to train a model from scratch."""

import json
import shlex
from pathlib import Path

from gpt2 import cli, files
from gpt2.data.read_text import read_whole
from gpt2.encoder import END_OF_TEXT, bytes_to_unicode
from gpt2.errors import UserError
from gpt2.options import with_help
from gpt2.paths import expanded

MOST_TOKENS = 1_000_000


@with_help
def make_vocabulary(
    text: str,
    model_name: str,
    n_vocab: int = 1024,
    encoding: str = 'utf-8',
    models_dir: str = 'models',
):
    """
    Make encoder.json and vocab.bpe from a text file

    :text : Text file to learn the merges from
    :model_name : The model folder that gets them
    :n_vocab=1024 : Number of tokens: 256 bytes, the merges, and the end of text
    :encoding=utf-8 : Of the text file
    """
    if not Path(model_name).parts or {'..', '/'} & set(Path(model_name).parts):
        raise UserError(f'--model_name is the name of a folder, not {model_name!r}; set it to one')
    folder = Path(expanded(models_dir)) / model_name
    if not 257 <= n_vocab <= MOST_TOKENS:
        raise UserError(
            f'--n_vocab is at least 257, the bytes and the end of text, and at most '
            f'{MOST_TOKENS}, not {n_vocab}; set it so'
        )
    if any((folder / name).exists() for name in ('encoder.json', 'tokenizer.json')):
        raise UserError(f'{folder} has a vocabulary; name another folder with --model_name')
    try:
        import tokenizers
    except ImportError as error:
        raise UserError("tokenizers is not installed; run: pip install -e '.[scratch]'") from error
    content = read_whole(text, encoding)

    bpe = tokenizers.Tokenizer(tokenizers.models.BPE())
    bpe.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=n_vocab - 1,
        initial_alphabet=list(bytes_to_unicode().values()),
        show_progress=False,
    )
    bpe.train_from_iterator([content], trainer)
    learnt = json.loads(bpe.to_str())['model']
    merges = [merge if isinstance(merge, str) else ' '.join(merge) for merge in learnt['merges']]
    with files.explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
    encoder = learnt['vocab'] | {END_OF_TEXT: len(learnt['vocab'])}
    lines = ['#version: 0.2', *merges, '']
    with files.writing_prefix(folder / 'encoder.json', last=('encoder.json',)) as aside:
        aside.with_name('vocab.bpe').write_bytes('\n'.join(lines).encode())
        aside.write_bytes(json.dumps(encoder).encode())
    print(f'{folder}: {len(encoder):,} tokens')
    words = ['python', 'encode.py', text, f'{Path(text).stem}.npz', '--model_name', model_name]
    words += [] if models_dir == 'models' else ['--models_dir', models_dir]
    print(f'Try: {shlex.join(map(str, words))}')


if __name__ == '__main__':
    cli.run(make_vocabulary)
