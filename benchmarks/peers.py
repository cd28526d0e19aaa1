"""Other projects' GPT-2, given this project's parameters."""

from gpt2.model import HParams, flatten


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
