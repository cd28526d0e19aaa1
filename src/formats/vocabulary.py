"""The vocabulary of a Hugging Face folder, in and out. No TensorFlow."""

import json
from pathlib import Path

from ..encoder import END_OF_TEXT
from ..errors import UserError
from ..model_folder import TOKENIZER, VOCABULARY, parse_object, vocabulary_of
from ..special_tokens import specials, spelt

WHOLE, SPECIAL = TOKENIZER
CONFIG = 'tokenizer_config.json'
ENDS = (END_OF_TEXT, '</s>', '[SEP]')  # where nothing says which token ends a text
# What GPT-2's own vocabulary is as a tokenizer.json, besides its tokens and its merges.
PLAIN = {'normalizer': None, 'pre_tokenizer': 'ByteLevel', 'decoder': 'ByteLevel', 'model': 'BPE'}
PLAIN_MODEL = ('dropout', 'unk_token', 'continuing_subword_prefix', 'end_of_word_suffix')
MAKE_ONE = (
    'python -c "from transformers import AutoTokenizer; '
    'AutoTokenizer.from_pretrained({path!r}).save_pretrained({path!r})"'
)


def read_vocabulary(folder: Path, config: dict) -> dict[str, bytes]:
    """{name in a model folder: content}, of the files of a Hugging Face folder.

    encoder.json and vocab.bpe where the encoder is GPT-2's own, else its tokenizer.json as it is,
    and a special_tokens_map.json that names the end of text. config: what config.json says.
    """
    path = folder / WHOLE
    try:
        if path.exists():
            return _whole(folder, path.read_bytes(), config)
        path = folder / 'vocab.json'
        if path.exists() and (folder / 'merges.txt').exists():
            encoder = parse_object(path.read_bytes())
            if (path := folder / 'added_tokens.json').exists():
                added = parse_object(path.read_bytes())
                encoder |= {spelt(token): i for token, i in added.items()}
            path = folder / 'merges.txt'
            merges = path.read_text('utf-8').split('\n')
            path = folder / 'vocab.json'
            return _plain(encoder, merges)
    except UserError:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f'{path} holds no vocabulary: {error!r}; fetch it anew') from error
    raise UserError(
        f'{folder} has neither {WHOLE} nor vocab.json and merges.txt; where transformers is '
        f'installed, make one: {MAKE_ONE.format(path=str(folder))}'
    )


def _plain(encoder: dict[str, int], merges: list[str]) -> dict[str, bytes]:
    """GPT-2's two files, byte for byte OpenAI's where the vocabulary is."""
    lines = [line.removesuffix('\r') for line in merges if not line.startswith('#version')]
    encoder = dict(sorted(encoder.items(), key=lambda item: item[1]))
    contents = json.dumps(encoder), '\n'.join(['#version: 0.2', *filter(None, lines), ''])
    return dict(zip(VOCABULARY, (content.encode() for content in contents), strict=True))


def _whole(folder: Path, content: bytes, config: dict) -> dict[str, bytes]:
    parts = parse_object(content)
    encoder = _plain_encoder(parts)
    if encoder and len(encoder) == config.get('vocab_size'):
        pairs = [
            merge.split(' ') if isinstance(merge, str) else merge
            for merge in parts['model']['merges']
        ]
        if all(len(pair) == 2 and not any(' ' in token for token in pair) for pair in pairs):
            return _plain(encoder, list(map(' '.join, pairs)))
    tokens = parts['model']['vocab']
    if isinstance(tokens, list):  # of a Unigram: each with its score
        tokens = {token: i for i, (token, _) in enumerate(tokens)}
    tokens = tokens | {token['content']: token['id'] for token in parts.get('added_tokens') or ()}
    special = special_tokens(folder)
    if special.get('eos_token') not in tokens:
        special['eos_token'] = _end_of_text(folder, tokens, config.get('eos_token_id'))
    return {WHOLE: content, SPECIAL: (json.dumps(special, indent=2) + '\n').encode()}


def _plain_encoder(parts: dict) -> dict[str, int] | None:
    """The tokens of a tokenizer.json that is GPT-2's own in all but these and the merges."""
    kinds = {name: (parts.get(name) or {}).get('type') for name in PLAIN}
    before, model = parts.get('pre_tokenizer') or {}, parts['model']
    added = {token['content']: token['id'] for token in parts.get('added_tokens') or ()}
    plain = kinds == PLAIN and not before.get('add_prefix_space') and before.get('use_regex', True)
    plain = plain and not any(map(model.get, (*PLAIN_MODEL, 'byte_fallback', 'ignore_merges')))
    return model['vocab'] | added if plain and set(added) <= {END_OF_TEXT} else None


def special_tokens(folder: Path) -> dict[str, str]:
    """{'eos_token': '</s>', ...}, as a folder's JSON files of the tokenizer say."""
    found = {}
    for name in (CONFIG, SPECIAL):
        if (folder / name).exists():
            for key, value in parse_object((folder / name).read_bytes()).items():
                value = value.get('content') if isinstance(value, dict) else value
                if key.endswith('_token') and isinstance(value, str):
                    found[key] = value
    return found


def _end_of_text(folder: Path, tokens: dict[str, int], number) -> str:
    """The token that ends a text, where no file says which: by its looks, or by its number."""
    looks = [token for token in ENDS if token in tokens]
    numbered = [token for token, i in tokens.items() if i == number]
    if not looks + numbered:
        raise UserError(
            f'{folder} does not say which token ends a text; write it to {folder / SPECIAL}, as '
            'in {"eos_token": "</s>"}'
        )
    return [*looks, *numbered][0]


def written_vocabulary(folder: Path, enc, n_ctx: int) -> dict[str, bytes]:
    """{name in a Hugging Face folder: content}, of a model folder's files; enc: its encoder."""
    names, kind = vocabulary_of(folder), 'PreTrainedTokenizerFast'
    contents = {name: (folder / name).read_bytes() for name in names}
    special = special_tokens(folder)
    if names == VOCABULARY:
        kind, special = 'GPT2Tokenizer', dict.fromkeys(('bos_token', 'eos_token'), END_OF_TEXT)
        special['unk_token'] = END_OF_TEXT
        contents = dict(zip(('vocab.json', 'merges.txt'), contents.values(), strict=True))
        if added := {token: i for token, i in specials(enc).items() if token != END_OF_TEXT}:
            plain = {token: i for token, i in enc.encoder.items() if i not in added.values()}
            contents['vocab.json'] = json.dumps(plain).encode()
            contents['added_tokens.json'] = json.dumps(added).encode()
    about = {'tokenizer_class': kind, 'model_max_length': n_ctx} | special
    texts = {SPECIAL: special, CONFIG: about}
    return contents | {
        n: (json.dumps(value, indent=2) + '\n').encode() for n, value in texts.items()
    }
