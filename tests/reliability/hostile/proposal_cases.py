"""Hostile files of proposals, and the commands that read them."""

from __future__ import annotations

import json
import random
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import scipy.io
import scipy.sparse
import yaml
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from tests.reliability.hostile.mutations import VALUES, changed_bytes, changed_json, deep
from tests.reliability.hostile.result_cases import SPECIAL, spoil

NAMES = tuple(value for value in VALUES if isinstance(value, str) and value)
_FAST = """
type: fast_rcnn
backbone: {type: alexnet, width: 0.125}
proposals: {type: file, train: NAME, val: NAME}
regions: {type: roi_pool, size: 6}
head: {type: two_fc, channels: 16, score_threshold: 0.0}
"""


def _proposals_command(name: str, folder: Path, valid: Path, rng: random.Random) -> list[str]:
    """Return a command that reads a file of proposals for the two images of the valid dataset's part val."""
    config = yaml.safe_load((valid / "run" / "config.yaml").read_text())
    config["detector"] = yaml.safe_load(_FAST.replace("NAME", name))
    config["data"]["train"] = config["data"]["val"]
    (folder / "fast.yaml").write_text(yaml.safe_dump(config))
    recall = ["recall", name, "--dataset", str(valid / "coco")]
    commands = [["check", "fast.yaml"], ["show-data", "fast.yaml", "--out", "out"], ["plan", "fast.yaml"]]
    train = ["train", "fast.yaml", "--out", "out"]
    return rng.choice([recall, [*recall, "--set", "val"], [*recall, "--set", "val"], train, *commands])


def _changed_header(content: bytes, rng: random.Random) -> bytes:
    """Return a safetensors file whose header says something else of the same data."""
    length = int.from_bytes(content[:8], "little")
    text = content[8 : 8 + length].decode()
    way = rng.randrange(6)
    if way == 0:
        text = rng.choice(
            (deep("[", "]", 100_000), deep('{"a":', "1}", 50_000), "9" * 10_000, "", "[]", "null")
        )
    elif way == 1:
        header = json.loads(text)
        sizes = ([10**12, 4], [-1, 4], [0, 2**62, 2**62], [10**30], [4, 4, 4] * 9, [9] * 100_000, [2**62, 4])
        about = header[rng.choice(("boxes", "scores", "offsets", "names", "name_offsets"))]
        about["shape"] = rng.choice(sizes)
        if rng.random() < 0.5:
            about["data_offsets"] = rng.choice(
                ([0, 16 * 10**12], [-64, 0], [8, 0], [2**64, 2**65], [0.5, "a"])
            )
        text = json.dumps(header)
    elif way == 2:
        header = json.loads(text)
        origin = rng.choice(
            (changed_json(header["__metadata__"]["origin"], rng), "[]", deep("[", "]", 100_000))
        )
        header["__metadata__"] = rng.choice(
            [
                {**header["__metadata__"], "origin": origin},
                {**header["__metadata__"], "detkit_proposals": rng.choice((*NAMES, "2"))},
                {"detkit_proposals": "1"},
                rng.choice(VALUES),
            ]
        )
        text = json.dumps(header)
    else:
        text = changed_json(text, rng)
    said = text.encode("utf-8", "replace")
    length = rng.choice((*[len(said)] * 8, 2**62, 2**63, len(said) + 1, 99_999_999))
    return length.to_bytes(8, "little") + said + content[8 + int.from_bytes(content[:8], "little") :]


def _changed_arrays(file: Path, valid: Path, rng: random.Random) -> None:
    """Write proposals whose numbers are none, turned round, of other images, or do not fit one another."""
    source = valid / "boxes.safetensors"
    with safe_open(source, framework="np") as content:
        metadata = dict(content.metadata())
    arrays = {name: array.copy() for name, array in load_file(source).items()}
    wild = rng.choice((np.nan, np.inf, -np.inf, 1e30, 3e38, -1e9, 2e9, 65_536.0))
    name = rng.choice(sorted(arrays))
    array = arrays[name]
    way = rng.randrange(6)
    if way == 0:
        arrays["boxes"][rng.randrange(len(arrays["boxes"])), rng.randrange(4)] = wild
    elif way == 1:
        arrays["boxes"] = np.ascontiguousarray(arrays["boxes"][:, [2, 3, 0, 1]])
    elif way == 2:
        arrays["scores"][rng.randrange(len(arrays["scores"]))] = wild
    elif way == 3:
        ids = arrays[rng.choice(("offsets", "name_offsets"))]
        ids[rng.randrange(len(ids))] = rng.choice((-1, 10**12, 2**63 - 1, -(2**63), 3))
    elif way == 4:
        arrays[name] = rng.choice((array[:-1], array[:0], array.astype(np.float64), array.reshape(-1, 1)))
    else:
        letters = rng.choice((b"\xff", b"a/" * 50_000, b"\x00", b"\x1b[31m"))
        arrays["names"] = np.frombuffer(letters * 2, np.uint8).copy()
        arrays["name_offsets"] = np.array([0, len(letters), 2 * len(letters)])
    save_file(arrays, file, metadata)


def proposal_files(folder: Path, valid: Path, rng: random.Random) -> list[str]:
    name = rng.choice(("boxes.safetensors", "boxes.safetensors", "boxes.mat", "boxes.json", "boxes.json"))
    file = folder / name
    way = rng.random()
    if way < 0.1:
        spoil(file, rng.choice(SPECIAL))
    elif name == "boxes.json":
        file.write_bytes(_proposal_json((valid / "results.json").read_text(), rng).encode("utf-8", "replace"))
    elif name == "boxes.mat" or way < 0.35:
        file.write_bytes(changed_bytes((valid / name).read_bytes(), rng))
    elif way < 0.7:
        file.write_bytes(_changed_header((valid / name).read_bytes(), rng))
    else:
        _changed_arrays(file, valid, rng)
    return _proposals_command(name, folder, valid, rng)


def _proposal_json(text: str, rng: random.Random) -> str:
    """Return proposals as JSON with another value, id, number or structure somewhere."""
    record = '{"image_id": ID, "bbox": [1, 2, 30, 40], "score": 0.5}'
    ids = (
        "1",
        "true",
        "1.0",
        "null",
        '"1"',
        "9" * 10_000,
        str(2**63),
        str(-(2**63)),
        '"val_000000.jpg"',
        "[1]",
    )
    if rng.random() < 0.5:
        return changed_json(text, rng)
    return rng.choice(
        [
            "[" + ",".join(record.replace("ID", rng.choice(ids)) for _ in range(3)) + "]",
            "[" + ",".join(record.replace("ID", f'"{"x" * 300_000}{i}"') for i in range(100)) + "]",
            "[" + ",".join(record.replace("ID", str(i)) for i in range(50_000)) + "]",
            text.replace(
                "0.5", rng.choice(("NaN", "1e999", "1e300", "-Infinity", "9" * 10_000, '"0.5"', "true"))
            ),
            text.replace(
                "10.0", rng.choice(("NaN", "1e999", "1e300", "-1e300", "9" * 10_000, '"5"', "null"))
            ),
            text.replace("50.0", rng.choice(("-50.0", "0", "1e6"))),
            text.replace('"score"', '"more": ' + deep("[", "]", 100_000) + ', "score"'),
            deep("[", "]", 100_000),
            "[" + "[]," * 1_000_000 + "[]]",
            text[: rng.randrange(len(text))],
        ]
    )


def mat_arrays(folder: Path, valid: Path, rng: random.Random) -> list[str]:
    content = _mat_content(rng)
    scipy.io.savemat(folder / "boxes.mat", content, do_compression=rng.random() < 0.5)
    raw = (folder / "boxes.mat").read_bytes()
    if rng.random() < 0.6:
        (folder / "boxes.mat").write_bytes(_changed_mat(raw, rng))
    return _proposals_command("boxes.mat", folder, valid, rng)


def _mat_content(rng: random.Random) -> dict[str, Any]:
    cells = np.empty(rng.choice((0, 1, 2, 2, 2, 4)), object)
    for place in range(len(cells)):
        cells[place] = rng.choice(
            [
                np.array([[5.0, 5.0, 50.0, 60.0]]),
                np.array([[5.0, 5.0, 50.0, 60.0]]),
                np.array([[5, 5, 50, 60, 1]], rng.choice((np.int8, np.uint64, np.float32))),
                np.array([[-(2**63), 5, 50, 60]], np.int64),
                np.zeros((2, 5)),
                np.full((2, 4), np.nan),
                np.full((2, 4), 1e308),
                np.array("x"),
                np.zeros((2, 2, 2)),
                np.array([[5.0, 5.0, 1.0, 1.0]]),
                np.zeros((0, 4)),
                np.array([[1j, 2, 3, 4]]),
                {"a": 1},
                np.array([1, 2], object),
                scipy.sparse.eye(4),
            ]
        )
    names = rng.choice(
        [
            np.array(["val_000000", "val_000001"], object),
            np.array(["val_000000", "val_000001"]),
            np.array(["a", "b"], object),
            np.array([1.0, 2.0]),
            np.array([1.0, np.nan]),
            np.array([np.zeros(3), {"a": 1}], object),
        ]
    )
    scores = np.array([np.array(rng.choice((0.5, np.nan, 1e308, 1j, "x")))] * len(cells), object)
    content = {rng.choice(("boxes", "boxes", "bbs", "a")): cells}
    if rng.random() < 0.7:
        content["images"] = names
    return content | ({"scores": scores} if rng.random() < 0.3 else {})


def _changed_mat(raw: bytes, rng: random.Random) -> bytes:
    """Return a MATLAB file in which a size, a type or a shape says something else; compressed parts, too."""
    sizes = (0, 1, 4, 8, 14, 15, 17, 10**6, 2**31 - 1, 2**31, 2**32 - 1, rng.randrange(2**32))

    def changed(data: bytes) -> bytes:
        numbers = bytearray(data)
        for _ in range(rng.choice((1, 2, 5))):
            struct.pack_into("<I", numbers, 4 * rng.randrange(len(numbers) // 4), rng.choice(sizes))
        return bytes(numbers)

    head, rest = raw[:128], raw[128:]
    kind, size = struct.unpack_from("<2I", rest)
    way = rng.randrange(5)
    if kind == 15 and way < 4:
        inside = changed(zlib.decompress(rest[8 : 8 + size]))
        if way == 0:  # a few thousand bytes that stand for gigabytes
            inside += bytes(100 << 20)
        packed = zlib.compress(inside)
        return head + struct.pack("<2I", 15, len(packed)) + packed + rest[8 + size :]
    if way == 4:
        other = (b"\0\2IM", b"\1\0MI", b"IM\0\1", b"\0\0\0\0")
        return head[:124] + rng.choice(other) + rest
    return head + changed(rest)
