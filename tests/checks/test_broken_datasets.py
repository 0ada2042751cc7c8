"""200 datasets with one fault each, and some without: what is wrong is named, and nothing else is."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from detkit.checks.findings import KINDS
from detkit.errors import UserError
from detkit.workflows.check import Check, check
from tests.checks.broken_datasets import FAULTS, Fault, cases, make_broken
from tests.checks.small_datasets import FORMATS, Format, pictures, write

CASES = cases(200)
QUICK = 3  # every so many runs by default, all in the slow tests
FUZZED = int(os.environ.get("DETKIT_FUZZED", "8"))
ALWAYS = {"rare_class"}  # the datasets are small


def kinds_in(result: Check) -> set[str]:
    return {finding.kind for finding in result.findings}


def broken(tmp_path: Path, item: Fault, dataset_format: Format, seed: int) -> Check:
    root = tmp_path / "set"
    make_broken(root, item, dataset_format, seed)
    return check(str(root))


def test_there_are_enough_kinds_of_faults() -> None:
    assert len({item.kind for item, _, _ in CASES}) >= 25
    assert len(CASES) == 200
    assert {item.kind for item in FAULTS} <= set(KINDS)


@pytest.mark.parametrize(
    ("item", "dataset_format", "seed"),
    [
        pytest.param(
            *case, marks=[] if i % QUICK == 0 else pytest.mark.slow, id=f"{i}-{case[1]}-{case[0].name}"
        )
        for i, case in enumerate(CASES)
    ],
)
def test_the_fault_is_named(tmp_path: Path, item: Fault, dataset_format: Format, seed: int) -> None:
    result = broken(tmp_path, item, dataset_format, seed)
    named = [finding for finding in result.findings if finding.kind == item.kind]
    assert named, Counter(finding.kind for finding in result.findings)
    assert all(finding.message for finding in named)
    assert {finding.kind for finding in result.errors} <= {item.kind}


@pytest.mark.parametrize("dataset_format", FORMATS)
@pytest.mark.parametrize("seed", range(3))
def test_a_good_dataset_has_no_fault(tmp_path: Path, dataset_format: Format, seed: int) -> None:
    root = tmp_path / "set"
    write(root, dataset_format, pictures(np.random.default_rng(1000 + seed)))
    result = check(str(root))
    assert not result.errors
    assert kinds_in(result) <= ALWAYS
    assert (result.images, result.parts) == (12, {"train": 8, "val": 4})


def spoil_bytes(rng: np.random.Generator, root: Path) -> None:
    """Overwrite, insert or cut out a few bytes anywhere in a few files."""
    files = sorted(file for file in root.rglob("*") if file.is_file())
    for file in rng.choice(np.asarray(files, dtype=object), 3, replace=False):
        data = bytearray(file.read_bytes())
        for _ in range(int(rng.integers(1, 6))):
            at, count = int(rng.integers(len(data) + 1)), int(rng.integers(1, 9))
            match int(rng.integers(4)):
                case 0:
                    data[at : at + count] = rng.bytes(count)
                case 1:
                    data[at:at] = b"-91e300 nan null [] {} \x00"[int(rng.integers(20)) :][:count]
                case 2:
                    del data[at : at + 5 * count]
                case _:
                    data[at : at + 1] = str(int(rng.integers(10))).encode()
        file.write_bytes(bytes(data))


@pytest.mark.parametrize("dataset_format", FORMATS)
def test_whatever_is_in_the_files_the_check_and_the_copy_end_well(
    tmp_path: Path, dataset_format: Format
) -> None:
    for seed in range(FUZZED):
        root = tmp_path / str(seed)
        rng = np.random.default_rng([seed, FORMATS.index(dataset_format)])
        write(root, dataset_format, pictures(rng, 3, 2))
        spoil_bytes(rng, root)
        try:
            check(str(root), fix=tmp_path / f"copy{seed}")
            check(str(tmp_path / f"copy{seed}"))
        except UserError:
            pass  # nothing of a dataset is left to be recognised


@pytest.mark.parametrize(
    ("dataset_format", "moved", "sentence"),
    [
        ("voc", "+1", "from 0, and VOC counts from 1"),
        ("coco", "-1", "from 1, and COCO counts from 0"),
    ],
)
def test_it_is_said_which_way_pixels_are_counted(
    tmp_path: Path, dataset_format: Format, moved: str, sentence: str
) -> None:
    item = next(item for item in FAULTS if item.kind == "off_by_one")
    result = broken(tmp_path, item, dataset_format, 1)
    messages = {finding.message for finding in result.findings if finding.kind == item.kind}
    said = f"none would if all were moved by {moved} px: pixels are counted {sentence}"
    assert messages
    assert all(said in message for message in messages)
