"""Arrays in a safetensors file, written piece by piece and memory-mapped when read."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detkit.errors import UserError
from detkit.storage.atomic import durable_file

_DTYPES: dict[str, np.dtype[Any]] = {
    "I64": np.dtype("<i8"),
    "F32": np.dtype("<f4"),
    "U8": np.dtype("u1"),
}
_LONGEST_HEADER = 100_000_000  # bytes; the limit that safetensors sets itself


@dataclass(frozen=True)
class Column:
    """An array that may be too large to be held in memory while it is written.

    Attributes:
        dtype: I64, F32 or U8.
        shape: of the whole array.
        pieces: its content from first to last, cut along the first axis.
    """

    dtype: str
    shape: tuple[int, ...]
    pieces: Callable[[], Iterable[NDArray[Any]]]

    @staticmethod
    def of(dtype: str, array: NDArray[Any]) -> Column:
        """Return an array that is in memory already."""
        return Column(dtype, array.shape, lambda: [array])


def write_arrays(file: Path, metadata: Mapping[str, str], columns: Mapping[str, Column]) -> None:
    """Write a safetensors file atomically; folders are made as needed, and several processes may do it.

    Args:
        file: the file to make or to replace.
        metadata: texts for its header.
        columns: the arrays, those with the widest numbers first, so that all lie at multiples of their width.

    Raises:
        UserError: the disk is full, or the folder cannot be written.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = Path(folder) / "x.safetensors"
        ...     write_arrays(file, {"by": "me"}, {"ids": Column.of("I64", np.arange(3))})
        ...     metadata, arrays = map_arrays(file)
        ...     metadata["by"], arrays["ids"].tolist()
        ('me', [0, 1, 2])
    """
    header: dict[str, Any] = {"__metadata__": dict(metadata)}
    end = 0
    for name, column in columns.items():
        start, end = end, end + int(np.prod(column.shape)) * _DTYPES[column.dtype].itemsize
        header[name] = {"dtype": column.dtype, "shape": list(column.shape), "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with durable_file(file, alone=False) as part, part.open("wb") as out:
        out.write(len(text).to_bytes(8, "little") + text)
        for column in columns.values():
            for piece in column.pieces():
                out.write(np.ascontiguousarray(piece, _DTYPES[column.dtype]).data)
        assert out.tell() == 8 + len(text) + end, "the pieces do not have the shape that was announced"


def map_arrays(file: Path) -> tuple[dict[str, str], dict[str, NDArray[Any]]]:
    """Return the metadata of a safetensors file, and its arrays as read-only views of the file.

    Raises:
        UserError: the file is missing, is not a safetensors file, or is shorter than it says.
    """
    try:
        with file.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            header = json.loads(stream.read(length)) if 2 <= length <= _LONGEST_HEADER else None
    except OSError as error:
        raise UserError(f"{file}: cannot be read: {error.strerror}") from None
    except ValueError:
        header = None
    if not isinstance(header, dict):
        raise UserError(f"{file}: not a safetensors file")
    metadata = header.pop("__metadata__", {})
    content = np.asarray(np.memmap(file, dtype=np.uint8, mode="r"))[8 + length :]
    try:
        return metadata, {name: _view(content, **about) for name, about in header.items()}
    except (KeyError, TypeError, ValueError):
        raise UserError(f"{file}: the file is damaged or cut off; write it again") from None


def _view(
    content: NDArray[np.uint8], dtype: str, shape: list[int], data_offsets: tuple[int, int]
) -> NDArray[Any]:
    start, end = data_offsets
    return content[start:end].view(_DTYPES[dtype]).reshape(shape)
