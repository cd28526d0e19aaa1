"""MB/s of the encoder beside tiktoken and the original's way, in turns on one core."""

import itertools
import time
from pathlib import Path

from gpt2 import cli
from gpt2.data.bulk import Bulk
from gpt2.data.encode_dataset import LETTERS_PER_PIECE, cut
from gpt2.encoder import get_encoder, get_pairs


def original(enc):
    """An encode() that works as OpenAI's does: rounds over a word, a cache of merged words."""
    merged = {}

    def bpe(token):
        if token not in merged:
            word = tuple(token)
            while pairs := get_pairs(word):
                first, second = min(pairs, key=lambda pair: enc.bpe_ranks.get(pair, float('inf')))
                if (first, second) not in enc.bpe_ranks:
                    break
                new, i = [], 0
                while i < len(word):
                    both = word[i : i + 2] == (first, second)
                    new.append(first + second if both else word[i])
                    i += 1 + both
                word = tuple(new)
            merged[token] = ' '.join(word)
        return merged[token]

    def encode(text):
        ids = []
        for word in enc.pat.findall(text):
            token = ''.join(enc.byte_encoder[b] for b in word.encode('utf-8'))
            ids.extend(enc.encoder[part] for part in bpe(token).split(' '))
        return ids

    return encode


def benchmark(text: str, vocabulary: str, repeat: int = 10):
    """
    Encode a text piece by piece, first with an empty cache, then once more

    :text : Text file
    :vocabulary : Folder with GPT-2's encoder.json and vocab.bpe
    :repeat=10 : How often the text stands behind itself
    """
    enc = get_encoder(Path(vocabulary).resolve().name, Path(vocabulary).resolve().parent)
    fast = Bulk(enc)
    ways = {
        'ours': enc.encode,
        'the original': original(enc),
        'tiktoken': fast.encoding.encode_ordinary,
        'encode.py': fast.encode,  # where tiktoken is installed
    }
    pieces = list(cut([Path(text).read_text('utf-8')], LETTERS_PER_PIECE))
    megabytes = repeat * sum(len(piece.encode()) for piece in pieces) / 1e6
    for state in ('cold', 'warm'):
        took = dict.fromkeys(ways, 0.0)
        for piece in itertools.chain.from_iterable(itertools.repeat(pieces, repeat)):
            expected = None
            for name, encode in ways.items():
                began = time.perf_counter()
                ids = encode(piece)
                took[name] += time.perf_counter() - began
                expected = ids if expected is None else expected
                assert ids == expected
        for name, seconds in took.items():
            ratio = seconds / took['ours']
            print(
                f'{name:12} {state}: {megabytes / seconds:5.1f} MB/s, '
                f'ours is {ratio:.2f} times as fast'
            )
        print(f'encode.py, beside tiktoken: {took["tiktoken"] / took["encode.py"]:.2f}')


if __name__ == '__main__':
    cli.run(benchmark)
