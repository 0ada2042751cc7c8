"""Proposal store: the boxes of many images in one safetensors file, written in pieces and memory-mapped."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from detkit.annotations.validity import FARTHEST_PX
from detkit.errors import UserError, cut, shown
from detkit.proposals.proposals import Proposals
from detkit.storage.atomic import durable_file
from detkit.storage.regular_files import is_file
from detkit.version import VERSION

_MARK = "detkit_proposals"  # its presence in the metadata marks our files; its value is the format's version
_FORMAT = "1"
_DTYPES: dict[str, np.dtype[Any]] = {
    "I64": np.dtype("<i8"),
    "F32": np.dtype("<f4"),
    "U8": np.dtype("u1"),
}
_LONGEST_HEADER = 10_000_000  # bytes; ours have a thousand, since names are an array


@dataclass(frozen=True)
class Origin:
    """Origin of a store's boxes: method, parameters and key.

    Attributes:
        method: selective_search, edge_boxes, ..., or the file they were read from.
        parameters: of the method.
        key: tells apart stores of other images, methods or parameters.
        seconds: time spent on the images, summed over them; 0 where it is not known, as in a whole store.
    """

    method: str
    parameters: dict[str, Any]
    key: str = ""
    seconds: float = 0.0


class ProposalStore:
    """The proposals of N images, read from one file as they are asked for.

    The file is mapped into memory and never changed: processes share its pages, and what is sent to another
    process is the path alone.

    Attributes:
        path: the file.
        origin: where the boxes come from.
    """

    def __init__(self, path: Path, origin: Origin, arrays: dict[str, NDArray[Any]]) -> None:
        self.path, self.origin = path, origin
        self._boxes, self._scores = arrays["boxes"], arrays["scores"]
        self._offsets, self._letters = arrays["offsets"], arrays["names"]
        self._name_offsets = arrays["name_offsets"]

    @staticmethod
    def open(path: Path | str) -> ProposalStore:
        """Return the store in a file.

        Raises:
            UserError: the file is missing, damaged, or not a store of proposals.
        """
        file = Path(path).absolute()
        metadata, arrays = map_arrays(file)
        if _MARK not in metadata:
            raise UserError(f"{file}: a safetensors file, but not one that `detkit propose` wrote")
        if metadata[_MARK] != _FORMAT:
            writer, its = cut(metadata.get("written_by", "?")), cut(metadata[_MARK])
            raise UserError(
                f"{file}: detkit {writer} wrote it in format {its}; this is detkit {VERSION}, which reads "
                f"format {_FORMAT}. Write it again with detkit propose"
            )
        try:
            origin = msgspec.json.decode(metadata.get("origin", ""), type=Origin)
        except _NO_JSON:
            raise _damaged(file, "it does not say what its boxes come from") from None
        _require_whole(file, arrays)
        return ProposalStore(file, origin, arrays)

    def __reduce__(self) -> tuple[Callable[[Path], ProposalStore], tuple[Path]]:
        return ProposalStore.open, (self.path,)

    def __len__(self) -> int:
        return len(self._offsets) - 1

    def __call__(self, image: int) -> Proposals:
        """Return the proposals of the image at a position, as arrays of their own.

        Raises:
            UserError: a number is none, or a box ends before it begins.
        """
        start, end = self._offsets[image : image + 2].tolist()
        found = Proposals(self._boxes[start:end].copy(), self._scores[start:end].copy())
        sound = (np.abs(found.boxes) <= FARTHEST_PX).all(axis=1) & np.isfinite(found.scores)
        sound &= (found.boxes[:, :2] <= found.boxes[:, 2:]).all(axis=1)
        if not sound.all():
            first = int(sound.argmin())
            said = f"box {found.boxes[first].tolist()} (x1 y1 x2 y2) with score {found.scores[first]}"
            raise _damaged(self.path, f"image {shown(self.names[image])} has the {said}")
        return found

    @property
    def num_boxes(self) -> int:
        """Number of boxes of all images together."""
        return len(self._scores)

    @property
    def counts(self) -> NDArray[np.int64]:
        """(N,) number of boxes of each image."""
        return np.diff(self._offsets)

    @cached_property
    def names(self) -> list[str]:
        """N image names."""
        letters, offsets = self._letters.tobytes(), self._name_offsets.tolist()
        return [
            letters[start:end].decode("utf-8", "surrogateescape")
            for start, end in itertools.pairwise(offsets)
        ]

    def find(self, name: str) -> int:
        """Return the position of an image.

        Raises:
            UserError: the store does not have it.
        """
        position = self._positions.get(name)
        if position is None:
            some = ", ".join(map(repr, self.names[:3]))
            raise UserError(
                f"{self.path}: has no image {name!r}; it has {len(self)}, such as {some or 'none'}"
            )
        return position

    @cached_property
    def _positions(self) -> dict[str, int]:
        return {name: position for position, name in enumerate(self.names)}


def write_store(
    file: Path, origin: Origin, names: Sequence[str], proposals: Callable[[int], Proposals]
) -> None:
    """Write the proposals of N images, as a whole or not at all.

    Args:
        file: the file to make or to replace.
        origin: where they come from.
        names: N image names.
        proposals: returns those of the image at a position; it is called three times for
            each, so that not all have to be in memory.

    Raises:
        UserError: a name occurs twice.

    Example:
        >>> import tempfile
        >>> found = Proposals(np.array([[0, 0, 4, 3]], np.float32), np.ones(1, np.float32))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = Path(folder) / "boxes.safetensors"
        ...     write_store(file, Origin("mine", {}), ["a.jpg"], lambda image: found)
        ...     ProposalStore.open(file)(0).boxes
        array([[0., 0., 4., 3.]], dtype=float32)
    """
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise UserError(f"{file}: two images are called {twice!r}")
    encoded = [name.encode("utf-8", "surrogateescape") for name in names]
    letters = np.frombuffer(b"".join(encoded), np.uint8)
    images = range(len(names))
    offsets = _offsets([len(proposals(i)) for i in images])
    count = int(offsets[-1])
    write_arrays(
        file,
        {_MARK: _FORMAT, "written_by": VERSION, "origin": json.dumps(vars(origin))},
        {
            "offsets": Column.of("I64", offsets),
            "name_offsets": Column.of("I64", _offsets([len(name) for name in encoded])),
            "boxes": Column("F32", (count, 4), lambda: (proposals(i).boxes for i in images)),
            "scores": Column("F32", (count,), lambda: (proposals(i).scores for i in images)),
            "names": Column.of("U8", letters),
        },
    )


def _offsets(lengths: list[int]) -> NDArray[np.int64]:
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths, dtype=np.int64)])


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


class _Tensor(msgspec.Struct):
    """What the header says of an array."""

    dtype: str
    shape: list[int]
    data_offsets: tuple[int, int]


_NO_JSON = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_HEADER = msgspec.json.Decoder(dict[str, msgspec.Raw])
_METADATA = msgspec.json.Decoder(dict[str, str])
_TENSOR = msgspec.json.Decoder(_Tensor)


def map_arrays(file: Path) -> tuple[dict[str, str], dict[str, NDArray[Any]]]:
    """Return the metadata of a safetensors file, and its arrays as read-only views of the file.

    Arrays of other types than those of a `Column` are left out.

    Raises:
        UserError: the file is missing, is not a safetensors file, or is shorter than it says.
    """
    if not is_file(file):
        raise UserError(f"{cut(str(file), 300)}: cannot be read: no such file, or not a regular one")
    try:
        with file.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            text = stream.read(length) if length <= _LONGEST_HEADER else b""
        header = _HEADER.decode(text)
        metadata = _METADATA.decode(header.pop("__metadata__", b"{}"))
        tensors = {name: _TENSOR.decode(about) for name, about in header.items()}
    except OSError as error:
        raise UserError(f"{file}: cannot be read: {error.strerror}") from None
    except _NO_JSON:
        raise UserError(f"{file}: not a safetensors file") from None
    content = np.asarray(np.memmap(file, dtype=np.uint8, mode="r"))[8 + length :]
    return metadata, {
        name: _view(content, tensor, file) for name, tensor in tensors.items() if tensor.dtype in _DTYPES
    }


def _view(content: NDArray[np.uint8], tensor: _Tensor, file: Path) -> NDArray[Any]:
    start, end = tensor.data_offsets
    dtype, shape = _DTYPES[tensor.dtype], tensor.shape
    possible = len(shape) <= 8 and all(0 <= side <= len(content) for side in shape)
    if not (possible and start >= 0 and start + math.prod(shape) * dtype.itemsize == end <= len(content)):
        raise _damaged(file, "the arrays are not as long as it says")
    return content[start:end].view(dtype).reshape(shape)


def _require_whole(file: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Raise unless there are all arrays of a store, of sizes that fit one another."""
    kinds = {"offsets": "i8", "name_offsets": "i8", "boxes": "f4", "scores": "f4", "names": "u1"}
    if any(name not in arrays or arrays[name].dtype != kind for name, kind in kinds.items()):
        raise _damaged(file, f"it lacks one of the arrays {', '.join(kinds)}")
    offsets, ends, boxes, scores, letters = (arrays[name] for name in kinds)
    fits = boxes.shape == (*scores.shape, 4) and offsets.shape == ends.shape
    if not (fits and _divides(offsets, scores) and _divides(ends, letters)):
        raise _damaged(file, "its boxes, scores, names and images do not belong together")


def _divides(offsets: NDArray[np.int64], array: NDArray[Any]) -> bool:
    """Return whether offsets cut a whole array into pieces."""
    if offsets.ndim != 1 or array.ndim != 1 or not len(offsets):
        return False
    return bool(offsets[0] == 0 and offsets[-1] == len(array) and (offsets[:-1] <= offsets[1:]).all())


def _damaged(file: Path, what: str) -> UserError:
    return UserError(f"{file}: the file is damaged or cut off ({what}); write it again")
