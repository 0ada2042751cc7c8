"""200 datasets with one fault each, and some without: what is wrong is named, and nothing else is."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from detkit.data.checks.kinds import KINDS
from detkit.workflows.check import Check, check
from tests.data.checks.broken_datasets import FAULTS, Fault, cases, make_broken
from tests.data.checks.small_datasets import FORMATS, Format, pictures, write

CASES = cases(200)
QUICK = 3  # every so many runs by default, all in the slow tests
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
