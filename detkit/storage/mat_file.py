"""Reader of MATLAB files of version 5 (`save -v6` and `-v7`): numbers, texts, cells of them, and structs.

The format is The MathWorks' "MAT-File Format". No size is believed before it is compared with the bytes that
are there, so that a damaged file gives a message, in time and memory in proportion to its length.
"""

from __future__ import annotations

import itertools
import math
import struct
import zlib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from detkit.errors import UserError
from detkit.storage.regular_files import read_bytes

_HEADER_BYTES = 128
_HDF5 = b"\x89HDF\r\n\x1a\n"
_MATRIX, _COMPRESSED = 14, 15
# Types of the data of an element, by the number in its tag.
_NUMBERS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
_ENCODINGS = {1: "latin-1", 2: "latin-1", 4: "utf-16", 16: "utf-8", 17: "utf-16", 18: "utf-32"}
# Classes of arrays; 6 to 15 are of numbers. Complex ones have a second part, which would be lost.
_CELL, _STRUCT, _CHAR, _DOUBLE, _UINT64, _OPAQUE = 1, 2, 4, 6, 15, 17
_COMPLEX = 0x0800
_NAMES = {_CELL: "cell", _STRUCT: "struct"}
_MOST_AXES = 8
_MOST_DEPTH = 8  # of structs and cells in one another
_EMPTY = np.zeros((0, 0))

# A few bytes inflate to a thousand times as many; boxes that do not repeat themselves to ten times.
_FREE_BYTES, _MOST_TIMES = 16 << 20, 20
_NAME_BYTES = 4096  # of an inflated array: its name lies within

_Order = Literal["<", ">"]
_Bytes = NDArray[np.uint8]


def read_mat(
    file: Path, wanted: Collection[str], *, structs: bool = False
) -> tuple[list[str], dict[str, NDArray[Any]]]:
    """Return the names of all arrays of a MATLAB file, and the content of some of them.

    Args:
        file: written by `save` with '-v6' or '-v7', its default, or by `scipy.io.savemat`.
        wanted: names of arrays that are read where they are there.
        structs: whether these may be structs, and cells may hold structs and cells.

    Returns:
        The names, and by name: numbers in their shape and in the type they have on the disk; the rows of a
        text as (N,) str; a cell as (N,) objects, each of them numbers or text; a struct as (N,) dicts.

    Raises:
        UserError: the file is missing, damaged or of another version, or what is wanted is something else.

    Example:
        >>> import tempfile
        >>> from scipy.io import savemat
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     savemat(Path(folder) / "a.mat", {"boxes": np.array([[1.5, 2]]), "more": 3})
        ...     read_mat(Path(folder) / "a.mat", ["boxes"])
        (['boxes', 'more'], {'boxes': array([[1.5, 2. ]])})
    """
    content = read_bytes(file)
    order = _order_of(content, file)
    names, found = list[str](), dict[str, NDArray[Any]]()
    room = max(_FREE_BYTES, _MOST_TIMES * len(content))
    for kind, data in _elements(np.frombuffer(content, np.uint8)[_HEADER_BYTES:], order, f"{file}"):
        if kind not in (_MATRIX, _COMPRESSED):
            raise _damaged(f"{file}", f"an element of type {kind} is no array")
        head = _inflated(data, order, f"{file}", None) if kind == _COMPRESSED else data
        name = _Array.of(head, order, f"{file}").name
        names.append(name)
        if name in wanted:
            place = f"{file}: {name}"
            whole = _inflated(data, order, place, room) if kind == _COMPRESSED else data
            room -= len(whole)
            found[name] = _Array.of(whole, order, place).value(_MOST_DEPTH if structs else 1, structs=structs)
    return names, found


def _order_of(content: bytes, file: Path) -> _Order:
    """Return the order of the bytes of a number that the file's header states."""
    mark = content[_HEADER_BYTES - 4 : _HEADER_BYTES]
    if content.startswith(_HDF5) or mark in (b"\0\2IM", b"\2\0MI"):
        raise UserError(f"{file}: a MATLAB file of version 7.3 (HDF5); save it again in MATLAB with '-v7'")
    if mark not in (b"\0\1IM", b"\1\0MI"):
        raise UserError(f"{file}: not a MATLAB file of version 5, as `save` writes it with '-v7' or '-v6'")
    return "<" if mark == b"\0\1IM" else ">"


def _damaged(place: str, what: str) -> UserError:
    return UserError(f"{place}: the MATLAB file is damaged: {what}")


def _elements(content: _Bytes, order: _Order, place: str) -> Iterator[tuple[int, _Bytes]]:
    """Yield type and data of one element after the other."""
    at, end = 0, len(content)
    while at < end:
        if end - at < 8:
            raise _damaged(place, "it ends too early")
        kind, size = struct.unpack_from(f"{order}2I", content.data, at)
        start = at + 8
        after = start + size + (0 if kind == _COMPRESSED else -size % 8)
        if kind >> 16:  # up to four bytes lie in the tag itself
            kind, size, start, after = kind & 0xFFFF, kind >> 16, at + 4, at + 8
        if start + size > min(after, end):  # what fills up the last one may be missing
            raise _damaged(place, "it ends too early")
        yield kind, content[start : start + size]
        at = after


def _inflated(data: _Bytes, order: _Order, place: str, room: int | None) -> _Bytes:
    """Return what a compressed array holds: its beginning, or all of it where that fits into that many."""
    try:
        begin = np.frombuffer(zlib.decompressobj().decompress(data.data, _NAME_BYTES), np.uint8)
        kind, size = struct.unpack_from(f"{order}2I", begin.data)
        if kind != _MATRIX:
            raise _damaged(place, f"an element of type {kind} is no array")
        if room is None:
            return begin[8:]
        if size > room:
            raise UserError(f"{place}: {size} bytes when inflated, more than {room}; save it with '-v6'")
        inflater = zlib.decompressobj()
        content = np.frombuffer(inflater.decompress(data.data, size + 16), np.uint8)
    except zlib.error as error:
        raise _damaged(place, str(error)) from None
    except struct.error:
        raise _damaged(place, "a compressed array is empty") from None
    if len(content) < size + 8 or not inflater.eof:
        raise _damaged(place, "a compressed array is shorter or longer than it says")
    return content[8 : size + 8]


@dataclass(frozen=True)
class _Array:
    """An array whose content is still to be read.

    Attributes:
        kind: its class; 0 for complex numbers.
        shape: as the file says.
        name: empty in a cell.
        rest: the elements that hold the content.
        order: of the bytes of a number.
        place: for messages.
    """

    kind: int
    shape: tuple[int, ...]
    name: str
    rest: Iterator[tuple[int, _Bytes]]
    order: _Order
    place: str

    @staticmethod
    def of(data: _Bytes, order: _Order, place: str) -> _Array:
        """Return what the first elements of an array say."""
        rest = _elements(data, order, place)
        parts = [part for _, part in itertools.islice(rest, 3)]
        kind = int(parts[0].view(f"{order}u4")[0]) if parts and len(parts[0]) == 8 else 0
        if kind & 0xFF == _OPAQUE:  # such as a table; it has no shape
            parts.insert(1, data[:0])
        if len(parts) < 3 or len(parts[1]) % 4:
            raise _damaged(place, "an array has no shape or name")
        shape = tuple(parts[1].view(f"{order}i4").tolist())
        if len(shape) > _MOST_AXES or any(side < 0 for side in shape):
            raise _damaged(place, "the shape of an array is impossible")
        name = parts[2].tobytes().decode("latin-1")
        return _Array(0 if kind & _COMPLEX else kind & 0xFF, shape, name, rest, order, place)

    def value(self, depth: int, *, structs: bool) -> NDArray[Any]:
        """Return the content as `read_mat` does; a cell, or a struct where one may be, only of some depth."""
        if self.kind == _CELL and depth:
            return _objects(self._held(math.prod(self.shape), depth - 1, structs=structs))
        if self.kind == _STRUCT and depth and structs:
            return self._structs(depth - 1)
        if len(self.shape) < 2 or not (self.kind == _CHAR or _DOUBLE <= self.kind <= _UINT64):
            raise UserError(f"{self.place}: must be real numbers or a text, and is something else")
        kind, data = next(self.rest, (1, np.zeros(0, np.uint8)))
        if self.kind == _CHAR:
            return self._rows_of_text(kind, data)
        if kind not in _NUMBERS:
            raise _damaged(self.place, f"there are no numbers of type {kind}")
        dtype = np.dtype(self.order + _NUMBERS[kind])
        if len(data) != math.prod(self.shape) * dtype.itemsize:
            raise _damaged(self.place, f"{len(data)} bytes do not hold {self._shape} numbers")
        return data.view(dtype).reshape(self.shape if len(data) else (0, 0), order="F")

    @property
    def _shape(self) -> str:
        return " x ".join(map(str, self.shape))

    def _rows_of_text(self, kind: int, data: _Bytes) -> NDArray[np.str_]:
        """Return the rows of a matrix of letters, without the spaces that fill them up."""
        encoding = _ENCODINGS.get(kind, "ascii")
        if encoding in ("utf-16", "utf-32"):
            encoding += "-le" if self.order == "<" else "-be"
        try:
            text = data.tobytes().decode(encoding)
        except UnicodeDecodeError as error:
            raise _damaged(self.place, f"a text is not {error.encoding}") from None
        rows = self.shape[0]
        if rows < 2 or not text:
            return np.array([text])
        if len(text) != math.prod(self.shape):
            raise _damaged(self.place, f"{len(text)} letters are no text of {self._shape}")
        letters = np.frombuffer(text.encode("utf-32-le"), "<u4").reshape(rows, -1, order="F")
        return np.strings.rstrip(np.ascontiguousarray(letters).view(f"<U{letters.shape[1]}").ravel(), " ")

    def _structs(self, depth: int) -> NDArray[np.object_]:
        """Return a dict of each struct in the file's order: down the columns."""
        parts = [part for _, part in itertools.islice(self.rest, 2)]
        width = int(parts[0].view(f"{self.order}i4")[0]) if parts and len(parts[0]) == 4 else 0
        if len(parts) < 2 or width < 1 or len(parts[1]) % width:
            raise _damaged(self.place, "a struct has no names of fields")
        letters = parts[1].tobytes()
        starts = range(0, len(letters), width)
        names = [letters[at : at + width].split(b"\0")[0].decode("latin-1") for at in starts]
        number = math.prod(self.shape) if names else 0
        values = iter(self._held(number * len(names), depth, structs=True))
        return _objects([{name: next(values) for name in names} for _ in range(number)])

    def _held(self, number: int, depth: int, *, structs: bool) -> list[NDArray[Any]]:
        """Return the arrays of a cell or of structs in the file's order: down the columns."""
        values = list[NDArray[Any]]()
        for place_of, (kind, data) in enumerate(self.rest, start=1):
            place = f"{self.place}{{{place_of}}}"
            if kind != _MATRIX:
                raise _damaged(place, "there is no array")
            empty = not len(data)  # MATLAB leaves out all that an empty array could say
            array = None if empty else _Array.of(data, self.order, place)
            values.append(_EMPTY if array is None else array.value(depth, structs=structs))
        if len(values) != number:
            raise _damaged(
                self.place, f"{len(values)} arrays do not make a {_NAMES[self.kind]} of {self._shape}"
            )
        return values


def _objects(values: Sequence[Any]) -> NDArray[np.object_]:
    objects = np.empty(len(values), dtype=object)
    for number, value in enumerate(values):
        objects[number] = value
    return objects
