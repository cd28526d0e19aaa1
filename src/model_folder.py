"""A model's folder: its two names, the files in it, its hyperparameters. No TensorFlow."""

import glob
import json
import re
import shlex
from pathlib import Path

from .errors import UserError, what_mends
from .hparams import HParams, default_hparams
from .paths import check_name, expanded, is_path

RELEASED = ('124M', '355M', '774M', '1558M')
ALIASES = dict(zip(('117M', '345M', '762M', '1542M'), RELEASED, strict=True))
OTHER_NAME = ALIASES | {new: old for old, new in ALIASES.items()}
CLONE = Path(__file__).resolve().parent.parent
OPENAI_VOCABULARY = {  # bytes and SHA-256, the same for every model
    'encoder.json': (1042301, '196139668be63f3b5d6574427317ae82f612a97c5d1cdaf36ed2256dbf636783'),
    'vocab.bpe': (456318, '1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5'),
}
FILES = ('checkpoint', 'encoder.json', 'hparams.json', 'vocab.bpe')
VOCABULARY = ('encoder.json', 'vocab.bpe')
TOKENIZER = ('tokenizer.json', 'special_tokens_map.json')  # of models with another vocabulary


def find_model(model_name: str, models_dir='models', files=FILES) -> Path:
    """The folder of a model, under either of its names or by a path: '117M' -> models/124M.

    A relative `models_dir` is looked up in the working directory, then in the clone that this
    file is of; then a name of several parts is tried as a path: 'checkpoint/run1'. One that
    begins with /, ./, ../ or ~ is a path alone. Either may also name a checkpoint in a folder,
    'checkpoint/run1/model-7'. Raises UserError where there is none or it lacks one of `files`.
    """
    return _check_files(_locate(model_name, models_dir), files)


def find_prefix(model_name: str, models_dir='models') -> Path:
    """The prefix of a model's checkpoint, whose folder is complete: '117M' ->
    models/124M/model.ckpt, 'checkpoint/run1/model-7' -> itself. Raises UserError as find_model."""
    path = _locate(model_name, models_dir)
    _check_files(path, FILES)
    return checkpoint_prefix(path)


def _locate(model_name: str, models_dir) -> Path:
    """The folder that a model's name stands for, or the prefix of a checkpoint."""
    places = [Path(expanded(models_dir)), CLONE / expanded(models_dir)]
    if is_path(model_name):
        paths, places = [Path(expanded(model_name))], []
    else:
        check_name(model_name)
        path = Path(model_name)
        names = [path, Path(OTHER_NAME.get(str(path), path))]
        paths = [place / name for place in places for name in names]
        if len(path.parts) > 1:
            paths, places = [*paths, path], []
    try:
        for path in paths:
            if path.is_dir():
                return path
            name = path.name.removesuffix('.index')
            if path.parent.is_dir() and name in checkpoints(path.parent):
                return path.parent / name
    except OSError as error:  # too long, or not allowed
        raise UserError(f'{path}: {error.strerror}; {what_mends(error)}') from error
    raise UserError(_not_there(paths, places))


def _not_there(paths: list[Path], places: list[Path]) -> str:
    """The sentence about a model that none of `paths` is; places: where its name is looked up,
    none for a path."""
    path = paths[0]
    there = sorted({folder.name for place in places for folder in models_in(place)})
    mend = 'set --models_dir to where it is'
    if not places:
        path = next((path for path in paths if path.parent.is_dir()), paths[-1])
        models = [path.parent / name for name in checkpoints(path.parent)]
        there = list(map(name_of, models_in(path.parent) + models))
        mend = 'run: python download_model.py --list'
    run = Path('checkpoint') / path.name
    if there:
        mend = 'set --model_name to one'
    if places and (run / 'hparams.json').exists():
        mend = f'set --model_name to {run}'
    if path.name in OTHER_NAME:
        mend = how_to_mend(path)
    found = f'there: {", ".join(there)}' if there else 'no model is there'
    return f'no model in {path} ({found}); {mend}'


def _check_files(path: Path, files) -> Path:
    """The folder of a model that is there, once it has `files`; of a checkpoint, its own count."""
    folder = path if path.is_dir() else path.parent
    if (own := vocabulary_of(folder)) != VOCABULARY:
        files = [*own, *(name for name in files if name not in VOCABULARY)]
    for name in files:
        if not (folder / name).is_file() and (name != 'checkpoint' or path == folder):
            if name not in own and _is_untrained(folder):
                mend = how_to_train(folder)
            elif name == 'checkpoint':
                mend = how_to_mend_checkpoint(folder / name)
            else:
                mend = how_to_mend(folder)
            what = 'is no file' if (folder / name).exists() else 'is missing'
            raise UserError(f'{folder / name} {what}; {mend}')
    if 'checkpoint' in files:
        checkpoint_prefix(path)
    return folder


def vocabulary_of(folder: Path) -> tuple[str, str]:
    """The names of the files that hold a folder's vocabulary, or are to: OpenAI's, or another's."""
    is_other = (folder / TOKENIZER[0]).exists() and not (folder / VOCABULARY[0]).exists()
    return TOKENIZER if is_other else VOCABULARY


def models_in(folder: Path) -> list[Path]:
    """The folders of the models in a folder."""
    return sorted(path.parent for path in folder.glob('*/hparams.json'))


def name_of(folder: Path) -> str:
    """What --model_name takes for a folder: 'models/demo' -> 'demo', 'runs/a', 'a' -> './a'."""
    if folder.parent in (Path('models'), CLONE / 'models'):
        return folder.name
    return str(folder) if len(folder.parts) > 1 else f'./{folder}'


def how_to_mend(folder) -> str:
    """The end of an error sentence about a model's file: the command that brings it back."""
    folder = Path(folder)
    if _is_released(folder):
        place = [] if folder.parent == Path('models') else ['--models_dir', str(folder.parent)]
        return f'run: {shlex.join(["python", "download_model.py", folder.name, *place])}'
    if twin := _twin(folder):
        copies = [str(twin / name) for name in sorted([*vocabulary_of(twin), 'hparams.json'])]
        return f'run: {shlex.join(["cp", *copies, str(folder)])}'
    if not any((folder / name).exists() for name in (*FILES, *TOKENIZER)):
        inside = ', '.join(map(name_of, models_in(folder)))
        there = f'set --model_name to a model in it: {inside}'
        return there if inside else 'no model is in it; run: python download_model.py --list'
    return f'put the files of {folder} back from where they came'


def _twin(folder: Path) -> Path | None:
    """The other folder of a run that has its vocabulary and hparams.json: run1 -> run1/best, and
    run1/best -> run1; None of what is no run's."""
    twins = [folder / 'best', *([folder.parent] if folder.name == 'best' else [])]
    return next((twin for twin in twins if (twin / 'hparams.json').exists()), None)


def how_to_train(folder: Path) -> str:
    """The same about a folder that has a vocabulary, and neither a checkpoint nor a run's best."""
    if folder.name == 'best' and checkpoints(folder.parent):
        run = name_of(folder.parent)
        return f'its run has had no validation, which finds the best; set --model_name {run}'
    command = ['python', 'train.py', '--restore_from', 'scratch', '--model_name', name_of(folder)]
    return f'it has a vocabulary alone; train a model: {shlex.join(command)} --dataset TEXT'


def _is_untrained(folder: Path) -> bool:
    held = checkpoints(folder) or _is_released(folder) or (folder / 'best').exists()
    return not held and all((folder / name).exists() for name in vocabulary_of(folder))


def how_to_mend_checkpoint(prefix) -> str:
    """The same about the files of a checkpoint: names the others in its folder, and how to use one.

    train.py takes a prefix; all that take a folder go by its `checkpoint` file. Where a run's
    folder, or its best, has no other, those are named that the other of the two has.
    """
    prefix = Path(prefix)
    folder = prefix if prefix.name in OTHER_NAME else prefix.parent
    others = [name for name in checkpoints(folder) if name != prefix.name]
    if not others and (twin := _twin(folder)) and not _is_released(folder):
        if there := [name_of(twin / name) for name in checkpoints(twin)]:
            return f'there: {", ".join(there)}; set --model_name or --restore_from to one'
        return 'start the run anew with --restore_from fresh, for no whole checkpoint of it is left'
    if not others or _is_released(folder):
        return how_to_mend(folder)
    line, path = f'model_checkpoint_path: "{others[-1]}"', str(folder / 'checkpoint')
    return (
        f'there: {", ".join(others)}; set --restore_from {folder / others[-1]}, or run: '
        f'echo {shlex.quote(line)} > {shlex.quote(path)}'
    )


def _is_released(folder: Path) -> bool:
    """Whether a download gives back what a folder held: not where somebody's tuned model is."""
    return folder.name in OTHER_NAME and set(checkpoints(folder)) <= {'model.ckpt'}


def checkpoints(folder: Path) -> list[str]:
    """The checkpoints in a folder, the highest step last: ['model-9', 'model-10']."""
    names = [path.name.removesuffix('.index') for path in folder.glob('[!.]*.index')]
    models = [name for name in names if not name.startswith('state-')]  # a run's, of its optimizer
    return sorted(models, key=lambda name: [*map(int, re.findall('[0-9]+', name))])


def load_hparams(folder) -> HParams:
    """Read a folder's hparams.json."""
    path = Path(folder) / 'hparams.json'
    try:
        hparams = default_hparams().override_from_dict(parse_object(path.read_bytes()))
    except (OSError, ValueError) as error:
        mend = what_mends(error, how_to_mend(folder))
        raise UserError(f'{path} cannot be read: {error}; {mend}') from error
    if not hparams.n_vocab:
        raise UserError(f'{path} does not say n_vocab; {how_to_mend(folder)}')
    return hparams


def parse_object(content: bytes) -> dict:
    """The object of a JSON file, in which no name stands twice; raises ValueError."""
    try:
        value = json.loads(content.decode('utf-8'), object_pairs_hook=distinct)
    except RecursionError:
        raise ValueError('it is nested too deep') from None
    if not isinstance(value, dict):
        raise ValueError('it is no JSON object')
    return value


def distinct(pairs: list[tuple[str, object]]) -> dict:
    values = dict(pairs)
    if len(values) < len(pairs):
        raise ValueError('it has the same name twice')
    return values


def checkpoint_prefix(folder_or_prefix) -> Path:
    """The prefix of a checkpoint's files, which a folder's `checkpoint` file names.

    models/124M -> models/124M/model.ckpt; a prefix is returned as it is. Raises UserError
    where the .index file or the first .data file is missing.
    """
    prefix = Path(folder_or_prefix)
    if prefix.is_dir():
        prefix /= _latest(prefix)
    for end in ('.index', '.data-00000-of-*'):
        missing = f'{prefix}{end.replace("*", "00001")} is missing'
        try:
            if any(prefix.parent.glob(glob.escape(prefix.name) + end)):
                continue
        except OSError as error:  # the name is too long
            missing = f'{prefix} cannot be read: {error.strerror}'
        raise UserError(f'{missing}; {how_to_mend_checkpoint(prefix)}')
    return prefix


def _latest(folder: Path) -> str:
    """The name in `model_checkpoint_path`, which TensorFlow lists once more, as the last of all."""
    path = folder / 'checkpoint'
    try:
        lines = re.findall(r'^(\w+): "([^"\0-\x1f\x7f-\x9f]+)"\s*$', path.read_text('utf-8'), re.M)
    except (OSError, UnicodeDecodeError) as error:
        mend = what_mends(error, how_to_mend_checkpoint(path))
        raise UserError(f'{path} cannot be read: {error}; {mend}') from error
    # Beside it, also when the folder was written elsewhere.
    names = [(key, re.split(r'[/\\]', name)[-1]) for key, name in lines]
    names = [(key, name) for key, name in names if name]
    latest = [name for key, name in names if key == 'model_checkpoint_path']
    listed = [name for key, name in names if key == 'all_model_checkpoint_paths']
    if len(latest) == 1 and listed[-1:] in ([], latest):
        return latest[0]
    wrong = 'no checkpoint' if not latest else ', then '.join(latest + listed[-1:])
    raise UserError(f'{path} names {wrong}; {how_to_mend_checkpoint(path)}')
