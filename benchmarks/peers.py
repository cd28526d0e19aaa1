"""Other projects' GPT-2, given this project's parameters."""

import os
import sys

from gpt2.model import HParams
from gpt2.params import flatten

# As if it were not installed: its LLVM and TensorFlow's, in one process, abort it.
sys.modules['triton'] = None


def transformers_model(params: dict, hparams: HParams):
    """Hugging Face's GPT2LMHeadModel (PyTorch) with the same weights."""
    import torch
    import transformers

    config = transformers.GPT2Config(
        vocab_size=hparams.n_vocab,
        n_positions=hparams.n_ctx,
        n_embd=hparams.n_embd,
        n_head=hparams.n_head,
        n_layer=hparams.n_layer,
    )
    peer = transformers.GPT2LMHeadModel(config).eval()
    endings = {'w': 'weight', 'g': 'weight', 'b': 'bias', 'wte': 'wte.weight', 'wpe': 'wpe.weight'}
    state = {}
    for name, value in flatten(params).items():
        *scopes, last = name.split('/')
        scopes = [f'h.{scope[1:]}' if scope[1:].isdigit() else scope for scope in scopes]
        array = value.numpy()
        array = array[0] if array.ndim == 3 else array  # a convolution of width 1
        state['.'.join(['transformer', *scopes, endings[last]])] = torch.from_numpy(array)
    state['lm_head.weight'] = state['transformer.wte.weight']
    peer.load_state_dict(state)
    return peer


def ctranslate2_model(folder, hparams: HParams, precision: str):
    """CTranslate2's Generator with the weights of a checkpoint's folder, and its token strings."""
    import ctranslate2

    from gpt2.checkpoint import load_params

    tokens = [f'token{i}' for i in range(hparams.n_vocab - 1)] + ['<|endoftext|>']
    spec = ctranslate2.specs.TransformerDecoderModelSpec.from_config(
        hparams.n_layer,
        hparams.n_head,
        pre_norm=True,
        activation=ctranslate2.specs.Activation.GELUTanh,
    )
    flat = {name: value.numpy() for name, value in flatten(load_params(folder, hparams)).items()}

    def fill(spec, scope):
        if hasattr(spec, 'gamma'):
            spec.gamma, spec.beta = flat[f'{scope}/g'], flat[f'{scope}/b']
        else:
            spec.weight = flat[f'{scope}/w'][0].T.copy()
            spec.bias = flat[f'{scope}/b']

    decoder = spec.decoder
    decoder.scale_embeddings = False
    decoder.embeddings.weight = flat['wte']
    decoder.position_encodings.encodings = flat['wpe']
    decoder.projection.weight = flat['wte']
    fill(decoder.layer_norm, 'ln_f')
    for i, layer in enumerate(decoder.layer):
        fill(layer.self_attention.layer_norm, f'h{i}/ln_1')
        fill(layer.self_attention.linear[0], f'h{i}/attn/c_attn')
        fill(layer.self_attention.linear[1], f'h{i}/attn/c_proj')
        fill(layer.ffn.layer_norm, f'h{i}/ln_2')
        fill(layer.ffn.linear_0, f'h{i}/mlp/c_fc')
        fill(layer.ffn.linear_1, f'h{i}/mlp/c_proj')
    spec.register_vocabulary(tokens)
    spec.config.bos_token = spec.config.eos_token = spec.config.unk_token = tokens[-1]
    spec.validate()
    spec.optimize(quantization=None if precision == 'float32' else precision)
    place = folder / f'ctranslate2-{precision}'
    place.mkdir()
    spec.save(str(place))
    return ctranslate2.Generator(str(place), compute_type=precision), tokens


def llama_model(folder, hparams: HParams, precision: str):
    """llama.cpp's Llama with the weights of a checkpoint's folder."""
    import gguf
    import llama_cpp

    from gpt2.checkpoint import load_params

    names = {
        'wte': 'token_embd.weight',
        'wpe': 'position_embd.weight',
        'ln_f': 'output_norm',
        'ln_1': 'attn_norm',
        'attn/c_attn': 'attn_qkv',
        'attn/c_proj': 'attn_output',
        'ln_2': 'ffn_norm',
        'mlp/c_fc': 'ffn_up',
        'mlp/c_proj': 'ffn_down',
    }
    endings = {'w': 'weight', 'g': 'weight', 'b': 'bias'}
    place = folder / f'{precision}.gguf'
    writer = gguf.GGUFWriter(place, 'gpt2')
    writer.add_block_count(hparams.n_layer)
    writer.add_context_length(hparams.n_ctx)
    writer.add_embedding_length(hparams.n_embd)
    writer.add_feed_forward_length(4 * hparams.n_embd)
    writer.add_head_count(hparams.n_head)
    writer.add_layer_norm_eps(1e-5)
    writer.add_tokenizer_model('gpt2')
    writer.add_tokenizer_pre('gpt-2')
    writer.add_token_list([f'token{i}' for i in range(hparams.n_vocab)])
    writer.add_token_merges(['a b'])
    kinds = {'bfloat16': gguf.GGMLQuantizationType.BF16, 'int8': gguf.GGMLQuantizationType.Q8_0}
    kind = kinds.get(precision)
    for name, value in flatten(load_params(folder, hparams)).items():
        scope, _, last = name.rpartition('/')
        array = value.numpy()
        if not scope:
            new = names[name]
        else:
            layer, _, rest = scope.partition('/')
            stem = f'blk.{layer[1:]}.{names[rest]}' if rest else names[scope]
            new = f'{stem}.{endings[last]}'
        array = array[0].T.copy() if array.ndim == 3 else array
        if kind and array.ndim == 2 and name != 'wpe':
            writer.add_tensor(new, gguf.quants.quantize(array, kind), raw_dtype=kind)
        else:
            writer.add_tensor(new, array)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    threads = {'n_threads': os.cpu_count(), 'n_threads_batch': os.cpu_count()}
    return llama_cpp.Llama(str(place), n_ctx=hparams.n_ctx, verbose=False, **threads)
