"""The folders that a conversion makes: checked before, told of after. No TensorFlow."""

import shlex
from pathlib import Path

from ..files import check_new
from ..paths import check_name, expanded


def new_model(model_name: str, models_dir: str) -> Path:
    """The folder of a model that is to be made; UserError where there is one."""
    check_name(model_name)
    folder = Path(expanded(models_dir)) / model_name
    check_new(folder)
    return folder


def size_of(folder: Path) -> str:
    """'models/tiny: 6 files, 5.8 MB'"""
    sizes = [path.stat().st_size for path in folder.rglob('*') if path.is_file()]
    return f'{folder}: {len(sizes)} files, {sum(sizes) / 1e6:,.1f} MB'


def what_to_try(model_name: str, models_dir: str) -> str:
    """The command that samples from a new model."""
    place = ['--models_dir', models_dir] if models_dir != 'models' else []
    command = ['python', 'interactive_conditional_samples.py', '--model_name', model_name, *place]
    return f'Try: {shlex.join(command)}'
