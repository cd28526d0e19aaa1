"""What a training would take, told without any of it: shapes, parameters, memory. No TensorFlow."""

from collections.abc import Collection, Iterator
from types import SimpleNamespace

from ..errors import UserError
from ..hparams import HParams
from ..params import param_shapes
from ..paths import expanded
from .flags import check_flags, flags_of_run
from .prepare import check_length
from .run_folder import RunFolder
from .shapes import shape_of
from .start import find_start

N_VOCAB = 50257  # GPT-2's and GPT-3's
SLICE, SMALL_SLICE = 512, 128  # as loss.py has them, which needs TensorFlow


def what_it_takes(flags: SimpleNamespace, given: Collection[str]) -> Iterator[str]:
    """Yield the lines that --dry_run prints; raises UserError as prepare does, but for the
    vocabulary of a model from scratch, which need not be there yet."""
    check_flags(flags)
    run, said = RunFolder(flags.run_name), []
    shape = shape_of(flags, run)
    try:
        names = (flags.model_name, flags.models_dir)
        start = find_start(run, expanded(flags.restore_from), *names, shape)
        hparams = start.hparams
        if start.facts:
            flags = flags_of_run(flags, given, start.facts, said.append)
            check_flags(flags)
    except UserError as error:
        if flags.restore_from != 'scratch':
            raise
        hparams = HParams(n_vocab=N_VOCAB).override_from_dict(shape)
        said.append(f'The vocabulary is taken for one of {N_VOCAB} tokens: {error}')
    yield from said
    yield from shapes(hparams)
    check_length(flags, hparams)
    length = flags.context_length or hparams.n_ctx
    windows = flags.batch_size * flags.accumulate_gradients
    yield f'parameters: {hparams.parameters:,}'
    memory = memory_of(hparams, flags, length)
    yield f'memory: about {sum(memory.values()) / 1e9:,.2f} GB, and that of TensorFlow; of these'
    yield '  ' + ', '.join(f'{name} {size / 1e9:,.2f}' for name, size in memory.items())
    yield f'tokens per step: {windows} x {length} = {windows * length:,}'


def shapes(hparams: HParams) -> Iterator[str]:
    """A line for each variable, of the first block for all."""
    kinds = [hparams.window_of(layer) for layer in range(hparams.n_layer)]
    yield f'{hparams.n_layer} blocks of {hparams.n_head} heads x {hparams.n_embd // hparams.n_head}'
    if any(kinds):
        banded = f'{len(kinds) - kinds.count(None)} blocks look at {hparams.window} positions'
        yield f'{banded}, {kinds.count(None)} at all {hparams.n_ctx}'
    for name, shape in param_shapes(hparams).items():
        if name.startswith('h0/') or not name.startswith('h'):
            name = name.replace('h0/', f'h0 ... h{hparams.n_layer - 1}/')
            yield f'{name:26} {" x ".join(map(str, shape[shape[0] == 1 :]))}'


def memory_of(hparams: HParams, flags: SimpleNamespace, length: int) -> dict[str, int]:
    """Bytes of a training step, by what they are for, with windows of so many tokens.

    Of each token a block keeps for its gradients, as often as it is wide: in float32, 2 numbers,
    the stream before attention and before the MLP; in --precision 14, the two norms, q, k, v, what
    attention gives, and 4 each before and behind the GELU.
    """
    n_embd, tokens = hparams.n_embd, flags.batch_size * length
    trained = hparams.parameters
    if flags.only_train_transformer_layers:
        trained -= n_embd * (hparams.n_vocab + hparams.n_ctx + 2)
    low = 4 if flags.precision == 'float32' else 2
    block = tokens * n_embd * (2 * 4 + 14 * low)
    kept = hparams.n_layer * block
    if flags.memory_saving_gradients:
        kept = hparams.n_layer * tokens * n_embd * 4 + block
    at_once = min(tokens, SMALL_SLICE if flags.memory_saving_gradients else SLICE)
    return {
        'parameters': 4 * hparams.parameters,
        'gradients': 4 * trained * (2 if flags.accumulate_gradients > 1 else 1),
        flags.optimizer: 8 * trained if flags.optimizer == 'adam' else 0,
        'activations': kept,
        'logits': 2 * 4 * at_once * hparams.n_vocab,
    }
