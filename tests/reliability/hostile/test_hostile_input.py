"""No input, however hostile, makes a command crash, hang, fill the machine, run code or leave its folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.reliability.hostile import image_cases  # noqa: F401  (its families)
from tests.reliability.hostile.cases import FAMILIES, make_case
from tests.reliability.hostile.warm_process import LIMIT_BYTES, LIMIT_S, Ended, WarmProcess

SEED = 1
CASES_OF_A_FAMILY = 56
STATUSES = (0, 1, 2, 3)
SECRET = "the content of a file that nobody asked for"


@pytest.mark.slow
@pytest.mark.local_sockets
@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_hostile_input_is_refused_or_used_safely(
    family: str, valid: Path, process: WarmProcess, tmp_path: Path
) -> None:
    complaints = []
    for case in range(CASES_OF_A_FAMILY):
        number = case * len(FAMILIES) + sorted(FAMILIES).index(family)
        complaints += attack(number, valid, process, tmp_path / str(number))
    assert not complaints, "\n".join(complaints)


def attack(number: int, valid: Path, process: WarmProcess, place: Path) -> list[str]:
    """Run one case and return what is wrong."""
    folder = place / "a" / "b" / "c" / "d" / "work"  # so deep that a name that climbs ends inside `place`
    folder.mkdir(parents=True)
    (folder / "secret.txt").write_text(SECRET)
    noise = np.random.default_rng(number).integers(0, 256, (48, 64, 3), np.uint8)
    Image.fromarray(noise).save(folder / "secret.jpg")
    case = make_case(SEED, number, folder, valid)
    before = _files(place)
    ended = process.run(folder, case.command)
    new = _files(place) - before
    wrong = [*_ends_badly(ended), *_leaves_traces(folder, new)]
    return [f"case {number} ({case.family}): {' '.join(case.command)}: {one}" for one in wrong]


def _ends_badly(ended: Ended) -> Iterator[str]:
    said = ended.said.decode("utf-8", "replace")
    if ended.status not in STATUSES:
        yield f"ended with {ended.status} after {ended.seconds:.1f} s: {said[-600:]}"
    if "Traceback" in said:
        yield f"shows a traceback: {said[-600:]}"
    if ended.seconds > LIMIT_S:
        yield f"took {ended.seconds:.0f} s"
    if ended.memory_bytes > LIMIT_BYTES:
        yield f"took {ended.memory_bytes / 1e9:.1f} GB"
    if b"\x1b" in ended.said or b"\x07" in ended.said:
        yield f"sends an escape sequence to the terminal: {said[-300:]!r}"
    if ended.status == 2 and "error" not in said and "Error" not in said:
        yield f"does not say what is wrong: {said[-300:]!r}"
    if len(said) > 20_000:
        yield f"says {len(said)} letters"


def _leaves_traces(folder: Path, new: set[Path]) -> Iterator[str]:
    secret = (folder / "secret.jpg").read_bytes()
    if (folder / "ran").exists():
        yield "ran code"
    for file in sorted(new):
        inside = file.relative_to(folder).parts if file.is_relative_to(folder) else ("",)
        if not (inside[0].startswith(("out", "run")) or inside[0] in ("cache", "said", "uses")):
            yield f"wrote {file}"
        elif inside[0] not in ("said", "uses") and file.is_file() and _holds_a_secret(file):
            yield f"copied a file that is no image to {file}"
        elif inside[0] != "said" and file.is_file() and file.read_bytes() == secret:
            yield f"copied an image from outside of the dataset to {file}"


def _holds_a_secret(file: Path) -> bool:
    content = file.read_bytes()
    return SECRET.encode() in content or b"root:x:0" in content


def _files(place: Path) -> set[Path]:
    return {Path(folder, name) for folder, _, names in os.walk(place) for name in names}
