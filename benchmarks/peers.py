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
