"""Tensors of safetensors files, by name: read one at a time, written one after another."""

import contextlib
import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import ml_dtypes  # noqa: F401  with it NumPy knows bfloat16, and safetensors reads it
import numpy as np

from ..errors import UserError
from ..model_folder import parse_object

try:
    import safetensors
except ImportError as error:
    raise UserError("safetensors is not installed; run: pip install -e '.[hf]'") from error

WEIGHTS, INDEX, PICKLE = 'model.safetensors', 'model.safetensors.index.json', 'pytorch_model.bin'
ALIGNMENT = 64  # bytes
TYPES = {'F32': 'float32', 'F16': 'float16', 'BF16': 'bfloat16'}
TO_SAFETENSORS = (
    'import torch; from safetensors.torch import save_file; path = {path!r}; save_file({{name: '
    'x.contiguous().clone() for name, x in torch.load(path, weights_only=True).items()}}, '
    "path.replace('pytorch_model.bin', 'model.safetensors'), {{'format': 'pt'}})"
)


class Tensors:
    """The tensors in a folder's safetensors files. Raises UserError for damaged files.

    shapes: {name: shape}. The library checks the files; what is read of them goes straight to
    where it stays, as twice the weights are more memory than many a machine has.
    """

    def __init__(self, folder: Path):
        self.files, self.shapes, self.types, self.starts = {}, {}, {}, {}
        for path in find_files(folder):
            with opened(path) as file:
                for name in file.keys():  # noqa: SIM118  it is no dict
                    if name in self.files:
                        again = f'{path} has {name} again, after {self.files[name].name}'
                        raise UserError(f'{again}; fetch both anew')
                    part = file.get_slice(name)
                    self.files[name] = path
                    self.shapes[name], self.types[name] = tuple(part.get_shape()), part.get_dtype()
            self.starts |= read_starts(path)

    def read(self, name: str) -> np.ndarray:
        """One of them, as float32."""
        array = self.raw(name)
        if array.dtype == np.float32:
            return array
        wide = empty(array.shape, np.float32)
        wide[...] = array
        return wide

    def raw(self, name: str) -> np.ndarray:
        """One of them, in the type of the file."""
        path = self.files[name]
        if self.types[name] not in TYPES:
            known = ', '.join(TYPES.values())
            raise UserError(f'{path} has {name} in {self.types[name]}; save it as one of {known}')
        array = empty(self.shapes[name], np.dtype(TYPES[self.types[name]]))
        with open(path, 'rb') as file:
            file.seek(self.starts[name])
            if file.readinto(array.reshape(-1).view(np.uint8)) != array.nbytes:
                raise UserError(f'{path} was cut while it was read; fetch it anew')
        return array


def empty(shape: tuple[int, ...], dtype) -> np.ndarray:
    """An array that begins where TensorFlow wants memory to begin, and so is not copied."""
    size = math.prod(shape) * np.dtype(dtype).itemsize
    memory = np.empty(size + ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % ALIGNMENT
    return memory[start : start + size].view(dtype).reshape(shape)


def read_starts(path: Path) -> dict[str, int]:
    """Where in a file, whose header was checked, each tensor begins."""
    with open(path, 'rb') as file:
        size = int.from_bytes(file.read(8), 'little')
        header = json.loads(file.read(size))
    header.pop('__metadata__', None)
    return {name: 8 + size + entry['data_offsets'][0] for name, entry in header.items()}


@contextlib.contextmanager
def opened(path: Path):
    """A safetensors file, whose header the library checks; UserError where it is damaged."""
    try:
        with safetensors.safe_open(path, 'numpy') as file:
            yield file
    except UserError:
        raise
    except OSError as error:
        raise UserError(f'{path} cannot be read: {error}; fetch it anew') from error
    except (safetensors.SafetensorError, ValueError) as error:
        raise UserError(f'{path} is damaged: {error}; fetch it anew') from error


def find_files(folder: Path) -> list[Path]:
    """model.safetensors, or the parts that its index names. UserError where none is there."""
    if (folder / WEIGHTS).exists():
        return [folder / WEIGHTS]
    index = folder / INDEX
    if index.exists():
        return list(read_index(index))
    if (folder / PICKLE).exists():
        command = f'python -c "{TO_SAFETENSORS.format(path=str(folder / PICKLE))}"'
        raise UserError(
            f'{folder / PICKLE} is a pickle, which may do anything to who opens it; if you trust '
            f'it, make {WEIGHTS} of it where torch is installed: {command}'
        )
    raise UserError(f'{folder / WEIGHTS} is missing; name the folder of a Hugging Face model')


def read_index(index: Path) -> Iterator[Path]:
    """The files, each once, that an index names, all of them beside it."""
    try:
        names = sorted({*parse_object(index.read_bytes())['weight_map'].values()})
        wrong = [name for name in names if not re.fullmatch(r'[\w.-]+\.safetensors', name)]
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise UserError(f'{index} is damaged: {error!r}; fetch it anew') from error
    if wrong or not names:
        what = f'names {wrong[0]!r}, no .safetensors beside it' if wrong else 'names no file'
        raise UserError(f'{index} {what}; fetch the model anew')
    for name in names:
        if not (index.parent / name).is_file():
            raise UserError(f'{index.parent / name} is missing, which {INDEX} names; fetch it')
        yield index.parent / name


def write_header(file: BinaryIO, shapes: dict[str, tuple[int, ...]]) -> None:
    """Begin a file of float32 tensors, whose bytes follow in the order of their names here."""
    header, end = {'__metadata__': {'format': 'pt'}}, 0
    for name, shape in shapes.items():
        start, end = end, end + 4 * int(np.prod(shape))
        header[name] = {'dtype': 'F32', 'shape': list(shape), 'data_offsets': [start, end]}
    text = json.dumps(header, separators=(',', ':')).encode()
    text += b' ' * (-len(text) % 8)
    file.write(len(text).to_bytes(8, 'little') + text)
