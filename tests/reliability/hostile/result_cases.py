"""Hostile files of detections: COCO results and VOC's comp4, and `score` that reads them."""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path

from tests.reliability.hostile.mutations import changed_bytes, changed_json, changed_text, deep

NUMBERS = (
    "NaN",
    "1e999",
    "-1e999",
    "1e300",
    "-1e300",
    "-Infinity",
    "9" * 10_000,
    '"0.5"',
    "true",
    "null",
    "[1]",
)
WORDS = ("nan", "inf", "-inf", "1e999", "1e300", "9" * 10_000, "0x10", "1_0", "\u0663", "", "x" * 1_000_000)
IDS = (2**63 - 1, 2**63, -(2**63), 2**64, 0, -1)
SPECIAL = ("/dev/zero", "fifo", "folder", "/etc/passwd", "itself", "nowhere")


def spoil(file: Path, kind: str) -> None:
    """Put something that is no regular file in a file's place."""
    file.unlink(missing_ok=True)
    if kind == "fifo":
        os.mkfifo(file)
    elif kind == "folder":
        file.mkdir()
    else:
        file.symlink_to(file.name if kind == "itself" else kind)


def _results(text: str, rng: random.Random) -> str:
    key = rng.choice(('"image_id": 1', '"category_id": 1', "10.0", "50.0", "0.5"))
    (name, _, _), number = key.rpartition(": "), rng.choice(NUMBERS)
    return rng.choice(
        [
            changed_json(text, rng),
            changed_json(text, rng),
            text.replace(key, f"{name}: {number}" if name else number),
            text.replace(key, f"{name}: {number}" if name else number),
            text.replace('"image_id": 1', f'"image_id": {rng.choice(IDS)}'),
            text.replace('"score"', '"segmentation": ' + deep("[", "]", 100_000) + ', "score"'),
            text.replace('"score"', f'"{"x" * 1_000_000}": 1, "score"'),
            deep("[", "]", 100_000),
            deep('{"a":', "1}", 50_000),
            "[" + "[]," * 1_000_000 + "[]]",
            "[" + "{}," * 1_000_000 + "{}]",
            "[" + ",".join([text[1:-1]] * 20_000) + "]",
            "\ufeff" + text,
            "[]",
            "{}",
            '"text"',
            text[: rng.randrange(len(text))],
        ]
    )


def results(folder: Path, valid: Path, rng: random.Random) -> list[str]:
    """COCO results in which values, numbers, ids or the whole are others."""
    text = (valid / "results.json").read_text()
    file = folder / "results.json"
    if rng.random() < 0.1:
        spoil(file, rng.choice(SPECIAL))
    elif rng.random() < 0.8:
        file.write_bytes(_results(text, rng).encode("utf-8", "replace"))
    else:
        file.write_bytes(rng.choice((changed_bytes(text.encode(), rng), text.encode("utf-16"))))
    truth = str(next((valid / "coco").rglob("*val*.json")))
    if rng.random() < 0.3:
        (folder / "truth.json").write_text(changed_json(Path(truth).read_text(), rng))
        truth = "truth.json"
    metric = rng.choice(("coco", "voc07", "voc10"))
    return ["score", "--gt", truth, "--dt", "results.json", "--metric", metric]


def _comp4(text: str, rng: random.Random) -> bytes:
    lines = text.splitlines()
    place = rng.randrange(len(lines))
    words = lines[place].split()
    words[rng.randrange(len(words))] = rng.choice(WORDS)
    lines[place] = " ".join(words)
    return rng.choice(
        [
            "\n".join(lines).encode(),
            "\n".join(lines).encode(),
            changed_text(text, rng).encode("utf-8", "replace"),
            text.encode("utf-16"),
            text.replace("val_", "../val_").encode(),
            text.replace("val_000000", "\x1b[31mval").encode(),
            text.replace("10 10 60 50", "60 50 10 10").encode(),
            text.replace("\n", "\r").encode(),
            b"\xff\xfe" * 100,
            b"\x00" * 1_000_000,
            b"1 " * 1_000_000,
            (text * 20_000).encode(),
        ]
    )


def comp4(folder: Path, valid: Path, rng: random.Random) -> list[str]:
    """A folder of comp4 files with another line, one file too few or too many, or something that is none."""
    shutil.copytree(valid / "comp4", folder / "comp4")
    file = rng.choice(sorted((folder / "comp4").glob("*.txt")))
    way = rng.random()
    if way < 0.1:
        file.unlink()
    elif way < 0.2:
        spoil(file, rng.choice(SPECIAL))
    elif way < 0.3:
        name = rng.choice(
            (f"comp4_det_test_{file.stem[14:]}.txt", "comp4_det_val_nothing.txt", "comp4_det_.txt")
        )
        shutil.copy(file, file.with_name(name))
    else:
        file.write_bytes(_comp4(file.read_text(), rng))
    truth = valid / "voc" / "Annotations"
    return ["score", "--gt", str(truth), "--dt", "comp4", "--metric", rng.choice(("voc07", "voc10", "coco"))]
