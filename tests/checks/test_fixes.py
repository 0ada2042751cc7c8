"""A corrected copy has what the source should have had, and the source stays as it is."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from detkit.annotations.dataset import AnnotationSet
from detkit.annotations.detect import detect_format
from detkit.checks.findings import KINDS
from detkit.checks.fixes import turned
from detkit.data.datasets.readers import configs_of_sets, read_sets
from detkit.data.images import orient
from detkit.workflows.check import check
from tests.checks.broken_datasets import FAULTS, Fault, make_broken
from tests.checks.small_datasets import Format, pictures, write

# A whole JSON or YAML file that cannot be read, and a class that only a person can name.
NOT_MENDED = {
    ("cut_off", "coco"),
    ("file_of_labels_empty_or_wrong", "coco"),
    ("file_of_labels_empty_or_wrong", "yolo"),
}
MENDED = [
    (item, name)
    for item in FAULTS
    for name in item.formats
    if KINDS[item.kind].fix and (item.name, name) not in NOT_MENDED
]
EXACT = {
    "fractions",
    "pixels",
    "corners_swapped",
    "shifted_by_one",
    "other_convention",
    "top_left_instead_of_centre",
    "width_and_height_swapped",
    "wrong_size",
    "no_size",
    "labelled_twice",
    "annotation_ids_collide",
    "list_repeats",
    "list_names_nothing",
}
QUICK = 3


def contents(folder: Path) -> dict[str, str]:
    return {
        str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }


def read(root: Path) -> dict[str, AnnotationSet]:
    found = detect_format(root)
    return read_sets(configs_of_sets(found))


@pytest.mark.parametrize(
    ("item", "dataset_format"),
    [
        pytest.param(*case, marks=[] if i % QUICK == 0 else pytest.mark.slow, id=f"{case[1]}-{case[0].name}")
        for i, case in enumerate(MENDED)
    ],
)
def test_a_copy_is_without_the_fault(tmp_path: Path, item: Fault, dataset_format: Format) -> None:
    source, copy = tmp_path / "set", tmp_path / "copy"
    make_broken(source, item, dataset_format, seed=7)
    before = contents(source)
    first = check(str(source), fix=copy)
    assert contents(source) == before
    again = check(str(copy))
    assert item.kind not in {finding.kind for finding in again.findings}
    assert not again.errors
    changes = json.loads((copy / "changes.json").read_text())
    assert {"kind", "file", "object", "change"} == set(changes["changes"][0])
    assert item.kind in {change["kind"] for change in changes["changes"]}
    assert changes["left"] == []
    assert first.changes == changes["changes"]
    if item.name in EXACT:
        write(tmp_path / "good", dataset_format, pictures(np.random.default_rng(7)), lists=item.lists)
        for name, truth in read(tmp_path / "good").items():
            fix = read(copy)[name]
            assert np.abs(truth.boxes - fix.boxes).max() < 0.01
            assert (truth.labels == fix.labels).all()
            assert (truth.image_files == fix.image_files).all()


def test_errors_that_only_a_person_can_mend_are_left_and_listed(tmp_path: Path) -> None:
    item = next(item for item in FAULTS if item.name == "category_names_collide")
    make_broken(tmp_path / "set", item, "coco", seed=3)
    result = check(str(tmp_path / "set"), fix=tmp_path / "copy")
    left = json.loads((tmp_path / "copy" / "changes.json").read_text())["left"]
    assert [finding["kind"] for finding in left] == ["duplicate_category"]
    assert [finding.kind for finding in result.left] == ["duplicate_category"]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_boxes_turn_as_pixels_do(orientation: int) -> None:
    rng = np.random.default_rng(orientation)
    for _ in range(20):
        height, width = rng.integers(5, 20, 2)
        x1, y1 = int(rng.integers(width - 1)), int(rng.integers(height - 1))
        x2, y2 = int(rng.integers(x1 + 1, width)), int(rng.integers(y1 + 1, height))
        painted = np.zeros((height, width, 3), dtype=np.uint8)
        painted[y1:y2, x1:x2] = 255
        rows, columns = np.nonzero(orient(painted, orientation)[..., 0])
        expected = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        box = turned(np.array([[x1, y1, x2, y2]], dtype=np.float64), (int(height), int(width)), orientation)
        assert box[0].tolist() == expected
