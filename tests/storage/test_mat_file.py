"""The reader beside SciPy's, on files that SciPy and a small writer of our own made, whole and damaged."""

from __future__ import annotations

import io
import random
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.io import loadmat, savemat

from detkit.errors import UserError
from detkit.proposals.store.foreign_files import read_proposal_mat
from detkit.storage.mat_file import read_mat

TYPES = ("f8", "f4", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8")
NAMES = ("boxes", "bbs", "images", "scores", "x", "a_longer_name")


def numbers(rng: random.Random) -> NDArray[Any]:
    shape = rng.choice(((0, 4), (rng.randrange(6), 4), (3, 5), (1, 1), (3, 2, 2), (0, 0), (1, 7)))
    values = [rng.uniform(-100, 100) for _ in range(int(np.prod(shape)))]
    return np.array(values).reshape(shape).astype(rng.choice(TYPES))


def text(rng: random.Random) -> str:
    return "".join(rng.choice("abc_/.0 äü漢") for _ in range(rng.randrange(12)))


def value(rng: random.Random) -> Any:
    make = rng.choice((numbers, text))
    if rng.random() < 0.5:
        return make(rng)
    cells = np.empty(rng.randrange(5), object)
    for place in range(len(cells)):
        cells[place] = make(rng)
    return cells.reshape(rng.choice(((1, -1), (-1, 1))))


def assert_same(found: NDArray[Any], wanted: NDArray[Any]) -> None:
    """SciPy keeps a cell's shape; of an empty array only that it is empty is of interest."""
    if wanted.dtype == object:
        assert (found.dtype, found.ndim, found.size) == (object, 1, wanted.size)
        for one, other in zip(found, wanted.ravel(), strict=True):
            assert_same(one, np.asarray(other))
    elif wanted.dtype.kind == "U":
        assert found.tolist() == (wanted.tolist() or [""])
    else:
        assert found.dtype == wanted.dtype
        assert found.shape == wanted.shape or found.size == wanted.size == 0
        np.testing.assert_array_equal(found.ravel(), wanted.ravel())


@pytest.mark.parametrize("packed", [False, True])
def test_what_scipy_writes_is_read_as_scipy_reads_it(tmp_path: Path, packed: bool) -> None:
    rng, file = random.Random(f"{packed}"), tmp_path / "x.mat"
    for _ in range(100):
        content = {name: value(rng) for name in rng.sample(NAMES, 3)}
        savemat(file, {**content, "other": {"a": 1}}, do_compression=packed)
        held, found = read_mat(file, NAMES)
        wanted = loadmat(file)
        assert held == [*content, "other"]
        assert set(found) == set(content)
        for name, array in found.items():
            assert_same(array, wanted[name])


def plain(found: Any) -> Any:
    """Return what either reader found as lists and dicts; SciPy keeps the shape of a cell."""
    if isinstance(found, dict):
        return {name: plain(value) for name, value in found.items()}
    if found.dtype.names:
        return [{name: plain(one[name]) for name in found.dtype.names} for one in found.ravel(order="F")]
    if found.dtype == object:
        return [plain(one) for one in found.ravel(order="F")]
    return found.ravel().tolist() or ([] if found.dtype.kind != "U" else [""])


@pytest.mark.parametrize("packed", [False, True])
def test_structs_and_cells_in_one_another_are_read_as_scipy_reads_them(tmp_path: Path, packed: bool) -> None:
    rng, file = random.Random(f"{packed}"), tmp_path / "x.mat"

    def nested(depth: int) -> Any:
        if depth == 0:
            return value(rng)
        if rng.random() < 0.5:
            return {name: nested(depth - 1) for name in rng.sample(NAMES, 2)}
        cells = np.empty((2, 2), object)
        cells[0, 1], cells[1, 0] = nested(depth - 1), nested(depth - 1)
        cells[0, 0] = cells[1, 1] = np.zeros((1, 1))
        return cells

    for _ in range(30):
        rows = np.empty((2, 1), dtype=[("a", object), ("bb", object)])
        for row in rows.ravel():
            row["a"], row["bb"] = nested(2), nested(1)
        savemat(file, {"s": rows, "x": nested(3)}, do_compression=packed)
        found, wanted = read_mat(file, ["s", "x"], structs=True)[1], loadmat(file)
        assert plain(found["s"]) == plain(wanted["s"])
        assert plain(found["x"]) == plain(wanted["x"])


def test_structs_are_refused_where_none_are_asked_for(tmp_path: Path) -> None:
    savemat(tmp_path / "x.mat", {"x": {"a": 1}})
    with pytest.raises(UserError, match="x: must be real numbers or a text, and is something else"):
        read_mat(tmp_path / "x.mat", ["x"])


def test_structs_in_one_another_have_an_end(tmp_path: Path) -> None:
    content: Any = 1.0
    for _ in range(9):
        content = {"a": content}
    savemat(tmp_path / "x.mat", {"x": content})
    with pytest.raises(UserError, match="must be real numbers or a text, and is something else"):
        read_mat(tmp_path / "x.mat", ["x"], structs=True)


def element(order: str, kind: int, data: bytes) -> bytes:
    if 0 < len(data) <= 4 and kind != 14:
        return struct.pack(f"{order}I", len(data) << 16 | kind) + data.ljust(4, b"\0")
    return struct.pack(f"{order}2I", kind, len(data)) + data + b"\0" * (-len(data) % 8)


def matrix(order: str, kind: int, shape: tuple[int, ...], name: str, *parts: bytes) -> bytes:
    head = element(order, 6, struct.pack(f"{order}2I", kind, 0))
    head += element(order, 5, struct.pack(f"{order}{len(shape)}i", *shape)) + element(order, 1, name.encode())
    return element(order, 14, head + b"".join(parts))


def array(order: str, values: Any, code: str, kind: int, name: str = "") -> bytes:
    """Doubles, stored as numbers of another type, as MATLAB does."""
    data = np.asarray(values)
    return matrix(order, 6, data.shape, name, element(order, kind, data.astype(order + code).tobytes("F")))


def packed(order: str, whole: bytes) -> bytes:
    data = zlib.compress(whole)
    return struct.pack(f"{order}2I", 15, len(data)) + data


def mat(order: str, *arrays: bytes) -> bytes:
    return b"MATLAB 5.0 MAT-file".ljust(124) + (b"\0\1IM" if order == "<" else b"\1\0MI") + b"".join(arrays)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("pack", [False, True])
def test_either_order_of_bytes(tmp_path: Path, order: str, pack: bool) -> None:
    boxes, few = [[1, 2, 300, 4], [5, 6, 7, 8]], [[9, 9, 10, 11]]
    utf16 = "é漢".encode("utf-16-le" if order == "<" else "utf-16-be")
    arrays = [
        element(order, 14, opaque(order)),
        matrix(order, 1, (1, 3), "boxes", array(order, boxes, "u2", 4), array(order, few, "u1", 2),
               element(order, 14, b"")),
        matrix(order, 1, (3, 1), "images", matrix(order, 4, (1, 2), "", element(order, 17, utf16)),
               matrix(order, 4, (1, 3), "", element(order, 16, b"abc")), matrix(order, 4, (0, 0), "")),
        matrix(order, 4, (2, 3), "rows", element(order, 4, np.array([*b"axbc  "], order + "u2").tobytes())),
    ]  # fmt: skip
    (tmp_path / "x.mat").write_bytes(mat(order, *(packed(order, one) if pack else one for one in arrays)))
    held, found = read_mat(tmp_path / "x.mat", ["boxes", "images", "rows"])
    assert held == ["table", "boxes", "images", "rows"]
    assert [cell.tolist() for cell in found["boxes"]] == [boxes, few, []]
    assert [cell.tolist() for cell in found["images"]] == [["é漢"], ["abc"], [""]]
    assert found["rows"].tolist() == ["ab", "xc"]


def opaque(order: str) -> bytes:
    """What MATLAB writes for a table: it has no shape."""
    names = b"".join(element(order, 1, name) for name in (b"table", b"MCOS", b"table"))
    return element(order, 6, struct.pack(f"{order}2I", 17, 0)) + names


ONE = array("<", [[1, 2, 3, 4]], "u1", 2)
MANY = (1 << 31) - 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (mat("<", matrix("<", 1, (MANY, MANY), "boxes")), "0 arrays do not make a cell of 2147483647 x"),
        (mat("<", matrix("<", 1, (1, 2), "boxes", ONE)), "1 arrays do not make a cell of 1 x 2"),
        (mat("<", matrix("<", 1, (1, 1), "boxes", element("<", 9, bytes(8)))), r"boxes\{1\}: .*no array"),
        (mat("<", matrix("<", 1, (1, 1), "boxes", matrix("<", 6, (MANY, 4), "", element("<", 9, bytes(64))))),
         r"boxes\{1\}: .*64 bytes do not hold 2147483647 x 4 numbers"),
        (mat("<", matrix("<", 1, (1, 1), "boxes", matrix("<", 6, (-1, -4), "", element("<", 9, bytes(32))))),
         "shape of an array is impossible"),
        (mat("<", matrix("<", 1, (1, 1), "boxes", matrix("<", 6, (2,) * 30, "", bytes(8)))),
         "shape of an array is impossible"),
        (mat("<", matrix("<", 1, (1, 1), "boxes", matrix("<", 0x0806, (1, 1), "", bytes(8)))),
         r"boxes\{1\}: must be real numbers or a text"),
        (mat("<", matrix("<", 1, (1, 1), "boxes", matrix("<", 1, (1, 1), "", ONE))), "must be real numbers"),
        (mat("<", matrix("<", 1, (1, 1), "boxes", matrix("<", 6, (1, 1), "", element("<", 11, bytes(8))))),
         "no numbers of type 11"),
        (mat("<", matrix("<", 4, (1, 1), "images", element("<", 16, b"\xff"))), "images: .*not utf-8"),
        (mat("<", matrix("<", 4, (MANY, 2), "images", element("<", 16, b"abc"))), "3 letters are no text of"),
        (mat("<", element("<", 9, bytes(8))), "an element of type 9 is no array"),
        (mat("<", element("<", 14, b"")), "has no shape or name"),
        (mat("<", struct.pack("<2I", 14, MANY)), "it ends too early"),
        (mat("<", struct.pack("<2I", 5 << 16 | 14, 0)), "it ends too early"),
        (mat("<", b"\0\0\0"), "it ends too early"),
        (mat("<", struct.pack("<2I", 15, 4) + b"abcd"), "while decompressing"),
        (mat("<", struct.pack("<2I", 15, 0)), "a compressed array is empty"),
        (mat("<", packed("<", matrix("<", 1, (1, 1), "boxes", ONE) + bytes(99))), "shorter or longer"),
        (mat("<", packed("<", matrix("<", 1, (1, 1), "boxes", ONE)[:-8])), "shorter or longer"),
        (mat("<")[:100], "not a MATLAB file of version 5"),
        (b"", "not a MATLAB file of version 5"),
        (b"MATLAB 7.3".ljust(124) + b"\0\2IM", "version 7.3 .*'-v7'"),
        (b"\x89HDF\r\n\x1a\n" + bytes(200), "version 7.3 .*'-v7'"),
    ],
)  # fmt: skip
def test_damage_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "x.mat").write_bytes(content)
    with pytest.raises(UserError, match=message):
        read_mat(tmp_path / "x.mat", ["boxes", "images"])


def test_a_checksum_that_is_wrong_is_damage(tmp_path: Path) -> None:
    content = bytearray(mat("<", packed("<", matrix("<", 1, (1, 1), "boxes", ONE))))
    content[-1] ^= 1
    (tmp_path / "x.mat").write_bytes(content)
    with pytest.raises(UserError, match="damaged"):
        read_mat(tmp_path / "x.mat", ["boxes"])


def test_a_bomb_is_not_inflated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file promises 64 MB; no more than its beginning is made of it."""
    whole = matrix(
        "<", 1, (1, 1), "boxes", matrix("<", 6, (2 << 20, 4), "", element("<", 9, bytes(64 << 20)))
    )
    (tmp_path / "x.mat").write_bytes(mat("<", packed("<", whole)))
    sizes, usual = [], zlib.decompressobj

    class Spy:
        def __init__(self) -> None:
            self.real = usual()

        def decompress(self, data: bytes, most: int) -> bytes:
            sizes.append(most)
            return self.real.decompress(data, most)

    monkeypatch.setattr(zlib, "decompressobj", Spy)
    with pytest.raises(UserError, match=r"boxes: 67\d* bytes when inflated, more than 16777216; save"):
        read_mat(tmp_path / "x.mat", ["boxes"])
    assert sum(sizes) < 1 << 20


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="a pipe or a device"):
        read_mat(Path("/dev/zero"), ["boxes"])


def cut(content: bytes, rng: random.Random) -> bytes:
    return content[: rng.randrange(len(content) + 1)]


def holed(content: bytes, rng: random.Random) -> bytes:
    start = rng.randrange(len(content))
    return content[:start] + content[rng.randrange(start, len(content) + 1) :]


def other_bytes(content: bytes, rng: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(rng.choice((1, 2, 30))):
        changed[rng.randrange(len(changed))] = rng.choice((0, 1, 127, 128, 255))
    return bytes(changed)


def other_numbers(content: bytes, rng: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(rng.choice((1, 2, 5))):
        number = rng.choice((0, 1, 4, 8, 14, 15, 17, 10**6, MANY, 2**31, 2**32 - 1, rng.randrange(2**32)))
        struct.pack_into("<I", changed, 4 * rng.randrange(len(changed) // 4), number)
    return bytes(changed)


def other_numbers_inside(content: bytes, rng: random.Random) -> bytes:
    """Changes of what was compressed, which a checksum does not show."""
    parts, at = [], 128
    while at < len(content):
        kind, size = struct.unpack_from("<2I", content, at)
        data = content[at + 8 : at + 8 + size]
        parts.append(packed("<", other_numbers(zlib.decompress(data), rng)) if kind == 15 else data)
        at += 8 + size
    return content[:128] + b"".join(parts)


@pytest.mark.parametrize("damage", [cut, holed, other_bytes, other_numbers, other_numbers_inside])
def test_no_damage_ends_otherwise_than_in_a_message(
    tmp_path: Path, damage: Callable[[bytes, random.Random], bytes]
) -> None:
    rng, file = random.Random(damage.__name__), tmp_path / "x.mat"
    said = []
    for _ in range(40):
        out = io.BytesIO()
        savemat(out, {name: value(rng) for name in rng.sample(NAMES, 3)}, do_compression=rng.random() < 0.5)
        for _ in range(10):
            file.write_bytes(damage(out.getvalue(), rng))
            for read in (lambda: read_mat(file, NAMES), lambda: read_proposal_mat(file)):
                try:
                    read()
                except UserError as error:
                    said.append(str(error).removeprefix(str(file)))
    assert len(said) > 100
    assert all(len(one) < 300 and "\n" not in one for one in said)


def struct_of(shape: tuple[int, ...], width: int, letters: bytes, *values: bytes) -> bytes:
    names = element("<", 5, struct.pack("<i", width)), element("<", 1, letters)
    return mat("<", matrix("<", 2, shape, "x", *names, *values))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (struct_of((1, 1), 0, b"a"), "a struct has no names of fields"),
        (struct_of((1, 1), -4, b"a"), "a struct has no names of fields"),
        (struct_of((1, 1), 4, b"abcde"), "a struct has no names of fields"),
        (struct_of((2**31 - 1, 2**31 - 1), 2, b"a\0"), "0 arrays do not make a struct of 2147483647 x"),
        (struct_of((1, 1), 2, b"a\0b\0", element("<", 14, b"")), "1 arrays do not make a struct of 1 x 1"),
        (struct_of((1, 1), 2, b"a\0", element("<", 1, b"12345678")), "there is no array"),
    ],
)
def test_damage_of_a_struct_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "x.mat").write_bytes(content)
    with pytest.raises(UserError, match=message):
        read_mat(tmp_path / "x.mat", ["x"], structs=True)


def test_structs_without_fields_are_none_however_many(tmp_path: Path) -> None:
    (tmp_path / "x.mat").write_bytes(struct_of((2**31 - 1, 9), 2, b""))
    assert len(read_mat(tmp_path / "x.mat", ["x"], structs=True)[1]["x"]) == 0
