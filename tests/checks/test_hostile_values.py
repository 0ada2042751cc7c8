"""What the readers refuse the check finds, and what its copy claims to be is read, whatever a file holds."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from detkit.annotations.dataset import AnnotationSet
from detkit.annotations.detect import detect_format
from detkit.data.datasets.readers import configs_of_sets, read_sets
from detkit.errors import UserError
from detkit.workflows.check import check
from tests.checks.small_datasets import Format, pictures, write
from tests.reliability.hostile.mutations import changed_json, changed_text, changed_xml

CHANGES: dict[Format, tuple[str, Callable[[str, random.Random], str]]] = {
    "voc": ("Annotations/*.xml", changed_xml),
    "coco": ("annotations/*.json", changed_json),
    "yolo": ("labels/train/*.txt", changed_text),
}


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> dict[Format, Path]:
    root = tmp_path_factory.mktemp("clean")
    for name in CHANGES:
        write(root / name, name, pictures(np.random.default_rng(0), 3, 2))
    return {name: root / name for name in CHANGES}


def read(root: Path) -> dict[str, AnnotationSet]:
    return read_sets(configs_of_sets(detect_format(root)))


def refused(root: Path) -> bool:
    try:
        read(root)
    except UserError as error:
        return len(str(error)) < 3000
    return False


def spoil(root: Path, name: Format, seed: int) -> None:
    pattern, change = CHANGES[name]
    rng = random.Random(seed)
    file = rng.choice(sorted(root.glob(pattern)))
    file.write_text(change(file.read_text(), rng), encoding="utf-8", errors="replace")


def assert_agreement(clean: Path, name: Format, seed: int, place: Path) -> None:
    source, copy = place / str(seed), place / f"copy_{seed}"
    shutil.copytree(clean, source)
    spoil(source, name, seed)
    is_refused = refused(source)
    try:
        result = check(str(source), fix=copy)
    except UserError:
        assert is_refused, seed
        return
    # What training deals with is no error of the data, though a strict reader refuses it.
    told = result.errors or any(finding.handled for finding in result.findings)
    assert told or not is_refused, (seed, result.findings)
    assert all(len(finding.message) <= 1000 for finding in result.findings)
    if not result.left:
        assert not refused(copy), (seed, [f for f in result.findings if f.is_error])


@pytest.mark.parametrize("name", CHANGES)
def test_readers_and_check_agree(name: Format, clean: dict[Format, Path], tmp_path: Path) -> None:
    for seed in range(12):
        assert_agreement(clean[name], name, seed, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", CHANGES)
def test_readers_and_check_agree_on_many(name: Format, clean: dict[Format, Path], tmp_path: Path) -> None:
    for seed in range(1000, 1150):
        assert_agreement(clean[name], name, seed, tmp_path)


def change_coco(root: Path, **values: Any) -> None:
    file = root / "annotations" / "instances_train.json"
    content = json.loads(file.read_text())
    content["annotations"][1] |= values
    file.write_text(json.dumps(content))


@pytest.mark.parametrize(
    "values",
    [
        {"iscrowd": "0"},
        {"area": "large", "segmentation": [[1, 2, 3]]},
        {"area": [], "bbox": [-5, 3, 20, 20], "segmentation": [[1, 2, 3]]},
        {"id": "five"},
        {"id": 2**63},
        {"bbox": ["3", "3", "9", "9"]},
        {"image_id": [1]},
        {"category_id": True},
    ],
    ids=str,
)
def test_an_annotation_with_odd_values_is_found_and_left_out(
    values: dict[str, Any], clean: dict[Format, Path], tmp_path: Path
) -> None:
    shutil.copytree(clean["coco"], tmp_path / "set")
    change_coco(tmp_path / "set", **values)
    result = check(str(tmp_path / "set"), fix=tmp_path / "copy")
    assert {finding.kind for finding in result.errors} <= {
        "malformed_object",
        "unknown_image_id",
        "unknown_category",
    }
    assert read(tmp_path / "copy")["train"].num_objects == read(clean["coco"])["train"].num_objects - 1
    if values != {"category_id": True}:  # pandas and others write 1 as true or 1.0, which means the same
        with pytest.raises(UserError):
            read(tmp_path / "set")


def test_a_category_with_odd_values_is_left_out(clean: dict[Format, Path], tmp_path: Path) -> None:
    shutil.copytree(clean["coco"], tmp_path / "set")
    for file in (tmp_path / "set").glob("annotations/*.json"):
        content = json.loads(file.read_text())
        content["categories"] += [7, {"id": 9}, {"id": 2**63, "name": "cow"}, {"id": 8, "name": "x" * 10**6}]
        file.write_text(json.dumps(content))
    result = check(str(tmp_path / "set"), fix=tmp_path / "copy")
    assert {finding.kind for finding in result.errors} == {"malformed_object"}
    assert read(tmp_path / "copy")["train"].classes == read(clean["coco"])["train"].classes


def test_a_free_id_is_one_of_64_bits(clean: dict[Format, Path], tmp_path: Path) -> None:
    shutil.copytree(clean["coco"], tmp_path / "set")
    change_coco(tmp_path / "set", id=2**63 - 1)
    file = tmp_path / "set" / "annotations" / "instances_train.json"
    content = json.loads(file.read_text())
    content["annotations"][2]["id"] = 2**63 - 1
    file.write_text(json.dumps(content))
    check(str(tmp_path / "set"), fix=tmp_path / "copy")
    ids = read(tmp_path / "copy")["train"].ids.tolist()
    assert len(set(ids)) == len(ids)
    assert {1, 2**63 - 1} <= set(ids)


@pytest.mark.parametrize("numbers", ["-3 -4 0.1 0.1", "0.5 0.5 0.1 -7", "0.5 -2.1 0.1 0.1"])
def test_large_negative_numbers_of_yolo_are_pixels(
    numbers: str, clean: dict[Format, Path], tmp_path: Path
) -> None:
    shutil.copytree(clean["yolo"], tmp_path / "set")
    file = sorted((tmp_path / "set" / "labels" / "train").glob("*.txt"))[0]
    lines = file.read_text().splitlines()
    file.write_text("\n".join([f"0 {numbers}", *lines[1:]]))
    errors = check(str(tmp_path / "set")).errors
    assert [(finding.kind, finding.object) for finding in errors] == [("pixel_box", "line 1 (apple)")]


def test_a_yolo_class_is_a_whole_number(clean: dict[Format, Path], tmp_path: Path) -> None:
    shutil.copytree(clean["yolo"], tmp_path / "set")
    file = sorted((tmp_path / "set" / "labels" / "train").glob("*.txt"))[0]
    file.write_text("0.9 0.5 0.5 0.5 0.5\n1.0 0.5 0.5 0.5 0.5\n")
    (error,) = check(str(tmp_path / "set")).errors
    assert (error.kind, error.object) == ("malformed_object", "line 1")
    assert error.message == "a line begins with the number of a class; found '0.9'"
