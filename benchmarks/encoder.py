"""MB/s of the encoder beside tiktoken and the original's way, on one text in one run."""

import time
from pathlib import Path

from gpt2 import cli
from gpt2.encoder import END_OF_TEXT, bytes_to_unicode, get_encoder, get_pairs


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


def tiktoken(enc):
    import tiktoken

    byte_of = {c: b for b, c in bytes_to_unicode().items()}
    ranks = {
        bytes(byte_of[c] for c in token): i
        for token, i in enc.encoder.items()
        if token != END_OF_TEXT
    }
    return tiktoken.Encoding(
        'gpt2', pat_str=enc.pat.pattern, mergeable_ranks=ranks, special_tokens={}
    ).encode_ordinary


def benchmark(text: str, vocabulary: str, repeat: int = 10):
    """
    Encode a text, first with an empty cache, then once more

    :text : Text file
    :vocabulary : Folder with GPT-2's encoder.json and vocab.bpe
    :repeat=10 : How often the text stands behind itself
    """
    content = Path(text).read_text('utf-8') * repeat
    enc = get_encoder(Path(vocabulary).resolve().name, Path(vocabulary).resolve().parent)
    megabytes, speeds, ids = len(content.encode()) / 1e6, {}, {}
    for name, encode in (
        ('ours', enc.encode),
        ('the original', original(enc)),
        ('tiktoken', tiktoken(enc)),
    ):
        for state in ('cold', 'warm'):
            began = time.perf_counter()
            ids[name] = encode(content)
            speeds[name, state] = megabytes / (time.perf_counter() - began)
    assert ids['ours'] == ids['the original'] == ids['tiktoken']
    for (name, state), speed in speeds.items():
        ratio = speeds['ours', state] / speed
        print(f'{name:12} {state}: {speed:5.1f} MB/s, ours is {ratio:.2f} times as fast')


if __name__ == '__main__':
    cli.run(benchmark)
