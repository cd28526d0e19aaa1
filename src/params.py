"""A model's parameters: names, shapes, a nested dict and flat, a fresh start."""

from .hparams import HParams


def param_shapes(hparams: HParams) -> dict[str, tuple[int, ...]]:
    """Every variable's name and shape: 'h0/attn/c_attn/w' -> (1, n_embd, 3 * n_embd)."""
    nx = hparams.n_embd
    shapes = {'wpe': (hparams.n_ctx, nx), 'wte': (hparams.n_vocab, nx)}
    for layer in range(hparams.n_layer):
        for name, n_in, n_out in (
            ('ln_1', None, nx),
            ('attn/c_attn', nx, 3 * nx),
            ('attn/c_proj', nx, nx),
            ('ln_2', None, nx),
            ('mlp/c_fc', nx, 4 * nx),
            ('mlp/c_proj', 4 * nx, nx),
        ):
            if n_in is None:
                shapes[f'h{layer}/{name}/g'] = (n_out,)
            else:
                shapes[f'h{layer}/{name}/w'] = (1, n_in, n_out)
            shapes[f'h{layer}/{name}/b'] = (n_out,)
    return shapes | {'ln_f/g': (nx,), 'ln_f/b': (nx,)}


def nest(flat: dict) -> dict:
    """{'h0/ln_1/g': x} -> {'h0': {'ln_1': {'g': x}}}."""
    nested = {}
    for name, value in flat.items():
        *scopes, last = name.split('/')
        scope = nested
        for part in scopes:
            scope = scope.setdefault(part, {})
        scope[last] = value
    return nested


def flatten(nested: dict) -> dict:
    """{'h0': {'ln_1': {'g': x}}} -> {'h0/ln_1/g': x}."""
    flat = {}
    for name, value in nested.items():
        if isinstance(value, dict):
            flat |= {f'{name}/{rest}': leaf for rest, leaf in flatten(value).items()}
        else:
            flat[name] = value
    return flat


def init_params(hparams: HParams, seed: int | None = None) -> dict:
    """Fresh parameters: normal with deviation 0.02 (wpe 0.01), gains 1, biases 0.

    As the paper says, and OpenAI's code does not, projections into the residual stream
    are scaled by 1/sqrt(N), N the number of residual layers. Returns a nested dict of
    tf.Variable, float32.
    """
    import tensorflow as tf  # shapes are asked for without it

    if seed is None:
        random = tf.random.Generator.from_non_deterministic_state()
    else:
        random = tf.random.Generator.from_seed(seed)
    flat = {}
    for name, shape in param_shapes(hparams).items():
        if name.endswith('/g'):
            value = tf.ones(shape)
        elif name.endswith('/b'):
            value = tf.zeros(shape)
        else:
            stddev = 0.01 if name == 'wpe' else 0.02
            if name.endswith('c_proj/w'):
                stddev /= (2 * hparams.n_layer) ** 0.5
            value = random.normal(shape, stddev=stddev)
        flat[name] = tf.Variable(value, name=f'model/{name}')
    return nest(flat)


def grown(params: dict, count: int, random) -> dict:
    """The parameters, with `count` tokens more, which no text has: each the mean of all.

    random: a tf.random.Generator. The noise is that of a fresh start. Around 0, as GPT-1's new
    tokens were, their logits would lie far above all others, which in GPT-2 are about -100.
    """
    import tensorflow as tf

    wte = tf.convert_to_tensor(params['wte'])
    rows = tf.reduce_mean(wte, axis=0) + random.normal([count, wte.shape[1]], stddev=0.02)
    return params | {'wte': tf.Variable(tf.concat([wte, rows], axis=0), name='model/wte')}
