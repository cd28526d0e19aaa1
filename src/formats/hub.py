"""A model's repository on a hub, fetched by huggingface_hub, and verified. No TensorFlow."""

import hashlib
import sys
from pathlib import Path
from typing import NamedTuple

from ..errors import UserError
from ..fetch import File, is_whole
from .config import hparams_of, read_config
from .tensors import INDEX, PICKLE, WEIGHTS

try:
    import huggingface_hub
    from huggingface_hub import constants, errors, utils
except ImportError as error:
    raise UserError("huggingface_hub is not installed; run: pip install -e '.[hf]'") from error

WANTED = (
    'config.json',
    WEIGHTS,
    INDEX,
    'model-*-of-*.safetensors',
    *('vocab.json', 'merges.txt', 'added_tokens.json'),
    *('tokenizer.json', 'tokenizer_config.json', 'special_tokens_map.json'),
)
TO_FOLDER = (
    'hf download {repo} --include "*.json" --include "*.txt" --include pytorch_model.bin '
    '--local-dir {name} && python convert.py from_huggingface {name} {name}'
)


class Repository(NamedTuple):
    """Where its files are, and what it says of its licence."""

    folder: Path
    license: str


def fetch(repo: str, revision: str | None = None) -> Repository:
    """Fetch what is needed of a repository, as 'distilbert/distilgpt2', into the library's cache.

    The library goes on where it stopped; it heeds HF_ENDPOINT, HF_HOME and HF_TOKEN. Raises
    UserError for a repository without safetensors, what the network refuses, and wrong bytes.
    """
    address = constants.ENDPOINT
    if not sys.stderr.isatty():
        utils.disable_progress_bars()
    try:
        info = huggingface_hub.HfApi().model_info(repo, revision=revision, files_metadata=True)
        check_weights(repo, [file.rfilename for file in info.siblings])
        config = Path(huggingface_hub.hf_hub_download(repo, 'config.json', revision=info.sha))
        check_files(repo, config.parent, info)
        hparams_of(read_config(config.parent), config)  # before the weights come
        folder = huggingface_hub.snapshot_download(
            repo, revision=info.sha, allow_patterns=list(WANTED)
        )
    except errors.GatedRepoError as error:
        mend = f'accept its terms at {address}/{repo}, then run: hf auth login'
        raise UserError(f'{repo} is not open to everybody; {mend}') from error
    except errors.RevisionNotFoundError as error:
        raise UserError(f'{repo} has no revision {revision}; set another --revision') from error
    except errors.HFValidationError as error:
        raise UserError(f'--hub is a name as distilbert/distilgpt2, not {repo!r}') from error
    except (errors.HTTPError, OSError) as error:
        if getattr(getattr(error, 'response', None), 'status_code', 0) in (401, 404):
            mend = 'write it as in distilbert/distilgpt2, or, if it is private, run: hf auth login'
            raise UserError(f'{address} has no public model {repo}; {mend}') from error
        reason = str(error.__cause__ or error).strip().partition('\n')[0]
        again = 'run the same command again, it goes on where it stopped'
        raise UserError(f'{repo} cannot be fetched from {address}: {reason}; {again}') from error
    check_files(repo, Path(folder), info)
    return Repository(Path(folder), license_of(info))


def check_weights(repo: str, names: list[str]) -> None:
    """Raise UserError where a repository has no safetensors, before anything is fetched."""
    if 'config.json' in names and {WEIGHTS, INDEX} & {*names}:
        return
    if PICKLE not in names or 'config.json' not in names:
        raise UserError(f'{repo} has no {WEIGHTS} and no config.json; name a repository of a GPT-2')
    name = repo.rpartition('/')[2]
    raise UserError(
        f'{repo} has {PICKLE} alone, a pickle, which may do anything to who opens it; set another '
        f'--revision, or, if you trust it, fetch it, and convert.py tells how to go on: '
        f'{TO_FOLDER.format(repo=repo, name=name)}'
    )


def check_files(repo: str, folder: Path, info) -> None:
    """Delete a file, and raise UserError, where it is not what the hub says it is."""
    for file in info.siblings:
        if (folder / file.rfilename).exists():
            check_file(repo, folder / file.rfilename, file)


def check_file(repo: str, path: Path, file) -> None:
    if file.lfs:
        digest = file.lfs.sha256
        whole = is_whole(path, File('', path, file.size, 'sha256', digest), sys.stderr)
    else:  # small: named by what Git calls it
        content, digest = path.read_bytes(), file.blob_id
        named = hashlib.sha1(b'blob %d\0' % len(content) + content, usedforsecurity=False)
        whole = digest in (None, named.hexdigest())
    if not whole:
        path.resolve().unlink()
        path.unlink(missing_ok=True)
        raise UserError(
            f'{repo} sends other bytes of {path.name} than those of the checksum {digest}; run '
            'the same command again'
        )


def license_of(info) -> str:
    """What a model card says, 'cc-by-nc-sa-4.0'."""
    said = info.card_data or {}
    name = said.get('license_name') or said.get('license') or ''
    return ', '.join(name) if isinstance(name, list) else str(name)
