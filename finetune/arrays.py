"""Arrays in a safetensors file: written whole, read only as they are expected. Never a pickle.

{name: array}  ->  file        file, {name: Expected}  ->  {name: array}, or `UserError`
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from sharding.errors import UserError
from sharding.files import write_bytes


class Expected(NamedTuple):
    """What an array has to be. A letter in the shape is a size of one or more, the same wherever it stands."""

    kind: type[np.generic]
    shape: tuple[int | str, ...]


def write_arrays(file: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """A file that is whole or absent."""
    write_bytes(file, save({name: np.ascontiguousarray(array) for name, array in arrays.items()}))


def read_arrays(file: Path, expected: Mapping[str, Expected]) -> dict[str, NDArray[Any]]:
    """These arrays and no others. Raises `UserError` when the file is missing, of another format or of other arrays."""
    try:
        found = load_file(file)
    except (OSError, SafetensorError) as error:
        raise _refusal(file, str(error).splitlines()[0]) from error
    if set(found) != set(expected):
        raise _refusal(
            file, f"it has {', '.join(sorted(found)) or 'nothing'}, not {', '.join(sorted(expected))}"
        )
    sizes: dict[str, int] = {}
    for name, (kind, shape) in expected.items():
        array = found[name]
        fits = len(array.shape) == len(shape) and array.dtype == kind
        for size, wanted in zip(array.shape, shape, strict=False):
            fits = fits and size == (
                sizes.setdefault(wanted, size or 1) if isinstance(wanted, str) else wanted
            )
        if not fits:
            raise _refusal(
                file, f"{name} is {array.dtype} {list(array.shape)}, not {kind.__name__} {list(shape)}"
            )
    return found


def _refusal(file: Path, why: str) -> UserError:
    return UserError(f"{file} is not what a fine-tuned model has there ({why}). Fine-tune again.")
