"""The config.json of a Hugging Face model, in and out. No TensorFlow."""

import json
from pathlib import Path

from ..errors import UserError
from ..hparams import ACTIVATIONS, HParams, default_hparams
from ..model_folder import parse_object

NAMES = {
    'activation_function': 'activation_function',
    'vocab_size': 'n_vocab',
    'n_positions': 'n_ctx',
    'n_embd': 'n_embd',
    'n_head': 'n_head',
    'n_layer': 'n_layer',
}
# What would change the numbers, and its value in GPT-2, which also counts where nothing is said.
FIXED = {
    'model_type': 'gpt2',
    'layer_norm_epsilon': 1e-5,
    'scale_attn_weights': True,
    'scale_attn_by_inverse_layer_idx': False,
    'add_cross_attention': False,
    'tie_word_embeddings': True,
    'quantization_config': None,
}


def read_config(folder: Path) -> dict:
    """What a folder's config.json says; raises UserError where it is none."""
    path = folder / 'config.json'
    try:
        return parse_object(path.read_bytes())
    except FileNotFoundError:
        raise UserError(f'{path} is missing; name the folder of a Hugging Face model') from None
    except (OSError, ValueError) as error:
        raise UserError(f'{path} cannot be read: {error}; fetch it anew') from error


def hparams_of(config: dict, path: Path) -> HParams:
    """The hyperparameters that config.json, at `path`, says; UserError for what is not GPT-2."""
    fixed = FIXED | {'n_inner': None}
    if config.get('n_inner') == 4 * config.get('n_embd', 768):
        fixed |= {'n_inner': config['n_inner']}
    for name, ours in fixed.items():
        value = config.get(name, ours)
        if value != ours or isinstance(value, bool) != isinstance(ours, bool):
            ours = '4 * n_embd' if name == 'n_inner' else json.dumps(ours)
            raise UserError(
                f'{path} has {name} {json.dumps(value):.80}, and GPT-2 has {ours}: the numbers '
                'would be wrong; name a model of GPT-2 itself'
            )
    config = {'activation_function': ACTIVATIONS[0]} | config
    values = {ours: config[theirs] for theirs, ours in NAMES.items() if theirs in config}
    if missing := [theirs for theirs, ours in NAMES.items() if ours not in values]:
        raise UserError(f'{path} does not say {missing[0]}; fetch it anew')
    try:
        return default_hparams().override_from_dict(values)
    except UserError as error:
        raise UserError(f'{path} is wrong: {error}; fetch it anew') from error


def config_of(hparams: HParams, end_of_text: int) -> dict:
    """What config.json says of a model, for Transformers."""
    sizes = {theirs: getattr(hparams, ours) for theirs, ours in NAMES.items()}
    ends = {'bos_token_id': end_of_text, 'eos_token_id': end_of_text}
    written = {name: value for name, value in FIXED.items() if value is not None}
    return {'architectures': ['GPT2LMHeadModel'], 'dtype': 'float32'} | written | sizes | ends
