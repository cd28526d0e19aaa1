"""What a training needs, found and read before TensorFlow is imported. No TensorFlow."""

import contextlib
import shlex
from collections.abc import Callable, Collection
from types import SimpleNamespace

from ..data.load_dataset import Sampler, load_dataset
from ..data.read_text import check_column, find_files
from ..encoder import read_encoder
from ..errors import UserError
from ..hparams import HParams
from ..model_folder import VOCABULARY, find_model
from ..paths import expanded
from . import row_job
from .cluster import Cluster, find_cluster
from .flags import ROWS, check_flags, flags_of_run
from .job import Job
from .run_folder import TASK, RunFolder
from .shapes import shape_of
from .start import Start, find_start


def prepare(
    flags: SimpleNamespace, say: Callable[[str], None], given: Collection[str] | None = None
) -> Job:
    """Check the flags, find the model, read the dataset, and lock the run's folder.

    say: is told what the datasets hold, and in which flags a run that goes on differs; given:
    the names of the flags that it does not keep, None for all. Raises UserError.
    """
    check_flags(flags)
    cluster, folder, asked = find_cluster(), RunFolder(flags.run_name), flags
    if not (cluster.is_chief and folder.has_checkpoint()):
        _check_dataset(flags, given or ())
    if cluster.is_chief:
        start = _find_start(flags, folder)
        if start.facts:
            _check_task(folder)
            flags = flags_of_run(flags, vars(flags) if given is None else given, start.facts, say)
            check_flags(flags)
        check_length(flags, start.hparams)
        _check_dataset(flags, ())
    else:  # the chief will say the rest
        start = Start(find_model(flags.model_name, flags.models_dir, files=VOCABULARY))
    if flags.template is not None:
        return row_job.prepare(flags, asked, cluster, folder, start, say)
    if of_rows := [name for name in ROWS if getattr(flags, name) is not None]:
        raise UserError(f'--{of_rows[0]} is for rows; set --template, too, or leave it out')
    _check_sources(flags, cluster)
    enc = read_encoder(start.folder, start.hparams and start.hparams.n_vocab)
    text = {'combine': flags.combine, 'encoding': flags.encoding, 'column': flags.column}
    text['say'] = say
    sampler = val_sampler = Sampler(load_dataset(enc, flags.dataset, cluster=cluster, **text))
    if flags.val_dataset and cluster.is_chief:
        val_sampler = Sampler(load_dataset(enc, flags.val_dataset, **text))
    lock = folder.lock() if cluster.is_chief else contextlib.nullcontext()
    return Job(flags, asked, cluster, folder, lock, start, enc, sampler, val_sampler)


def _check_sources(flags: SimpleNamespace, cluster: Cluster) -> None:
    """Look at both datasets before the first is read, which may take long."""
    sources = [flags.dataset]
    if flags.val_dataset and cluster.is_chief:
        sources.append(flags.val_dataset)
    files = [file for source in sources for file in find_files(source, flags.encoding, True)]
    check_column(files, flags.column)


def _check_dataset(flags: SimpleNamespace, given: Collection[str]) -> None:
    if flags.dataset is None:
        if 'run_name' in given:
            raise UserError(
                f'there is no run checkpoint/{flags.run_name} to go on with; name one that is '
                'there, or begin it: python train.py --run_name '
                f'{shlex.quote(str(flags.run_name))} --dataset FILE'
            )
        raise UserError(
            'no text is named to train on; run: python train.py --dataset FILE, or name a run to '
            'go on with: --run_name RUN'
        )


def _check_task(folder: RunFolder) -> None:
    if (folder.path / TASK).exists():
        go_on = shlex.join(['python', 'classify.py', 'train', '--run_name', folder.path.name])
        raise UserError(
            f'{folder.path} learns a task; go on with it: {go_on}, or set another --run_name'
        )


def _find_start(flags: SimpleNamespace, folder: RunFolder) -> Start:
    names = (flags.model_name, flags.models_dir)
    return find_start(folder, expanded(flags.restore_from), *names, shape_of(flags, folder))


def check_length(flags: SimpleNamespace, hparams: HParams) -> None:
    n_ctx = hparams.n_ctx
    if flags.context_length and flags.context_length > n_ctx:
        raise UserError(
            f'--context_length {flags.context_length} is more than the n_ctx of {n_ctx}'
        )
