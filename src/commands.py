"""The commands in an environment's bin: each runs the script of its name, as that stands now."""

import runpy
import sys
from pathlib import Path

from .model_folder import CLONE


def run() -> None:
    """Run the script that a command is called like: bin/train.py -> train.py of the clone, or of
    the wheel, which has the scripts within the package."""
    command = Path(sys.argv[0]).resolve()
    # What is in bin is to run, not to import: lm-eval has another evaluate in mind.
    sys.path[:] = [path for path in sys.path if Path(path).resolve() != command.parent]
    packed = Path(__file__).parent / 'scripts'
    runpy.run_path(str((packed if packed.is_dir() else CLONE) / command.name), run_name='__main__')
