"""What a training needs, found and read before TensorFlow is imported. No TensorFlow."""

import contextlib
import dataclasses
from collections.abc import Callable
from types import SimpleNamespace

from ..data.load_dataset import Sampler, load_dataset
from ..encoder import Encoder, read_encoder
from ..errors import UserError
from ..model_folder import find_model
from .cluster import Cluster, find_cluster
from .flags import check_flags
from .run_folder import VOCABULARY, RunFolder, Start, find_start

SHAPE = ('n_layer', 'n_head', 'n_embd', 'n_ctx')


@dataclasses.dataclass(frozen=True)
class Job:
    """What is to be trained, on what, by which processes, and where it is written."""

    flags: SimpleNamespace  # train.py's
    cluster: Cluster
    folder: RunFolder
    lock: contextlib.AbstractContextManager  # on the folder
    start: Start
    enc: Encoder
    sampler: Sampler
    val_sampler: Sampler


def prepare(flags: SimpleNamespace, say: Callable[[str], None]) -> Job:
    """Check the flags, find the model, read the dataset, and lock the run's folder.

    say: is told what the datasets hold. Raises UserError.
    """
    check_flags(flags)
    cluster, folder = find_cluster(), RunFolder(flags.run_name)
    if cluster.is_chief:
        start = _find_start(flags, folder)
    else:  # the chief will say the rest
        start = Start(find_model(flags.model_name, flags.models_dir, files=VOCABULARY))
    enc = read_encoder(start.folder)
    text = {'combine': flags.combine, 'encoding': flags.encoding, 'column': flags.column}
    text['say'] = say
    sampler = val_sampler = Sampler(load_dataset(enc, flags.dataset, cluster=cluster, **text))
    if flags.val_dataset and cluster.is_chief:
        val_sampler = Sampler(load_dataset(enc, flags.val_dataset, **text))
    lock = folder.lock() if cluster.is_chief else contextlib.nullcontext()
    return Job(flags, cluster, folder, lock, start, enc, sampler, val_sampler)


def _find_start(flags: SimpleNamespace, folder: RunFolder) -> Start:
    shape = {name: getattr(flags, name) for name in SHAPE}
    start = find_start(folder, flags.restore_from, flags.model_name, flags.models_dir, shape)
    n_ctx = start.hparams.n_ctx
    if flags.context_length and flags.context_length > n_ctx:
        raise UserError(
            f'--context_length {flags.context_length} is more than the n_ctx of {n_ctx}'
        )
    return start
