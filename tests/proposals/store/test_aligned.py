from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from detkit.annotations.assembly import Assembly
from detkit.annotations.dataset import AnnotationSet
from detkit.proposals.store.aligned import positions_of


def dataset(*files: str) -> AnnotationSet:
    assembly = Assembly("coco")
    for file in files:
        assembly.add_image(file, (10, 10), "test")
    return assembly.build("/data", ("thing",), [], [1])


@pytest.mark.parametrize(
    "names",
    [
        ["val/b.png", "val/a.jpg", "train/a.jpg"],
        ["b.png", "x/a.jpg", "train/a.jpg"],
    ],
)
def test_paths_come_first(names: list[str]) -> None:
    found = positions_of(names, dataset("train/a.jpg", "val/b.png"))
    assert found[0] == 2


@pytest.mark.parametrize("names", [["b.jpg", "a.jpg"], ["C:\\old\\b.jpg", "C:\\old\\a.jpg"], ["b", "a"]])
def test_names_without_folder_or_extension(names: list[str]) -> None:
    assert positions_of(names, dataset("x/a.jpg", "x/b.jpg")).tolist() == [1, 0]


def test_ends_of_paths_of_any_length() -> None:
    truth = dataset("a.jpg", "b.jpg")
    assert positions_of(["b.jpg", "/data/a.jpg", "/other/a.jpg"], truth).tolist() == [1, 0]
    names = ["train/a.jpg", "val/a.jpg", "val/b.jpg"]
    assert positions_of(names, replace(truth, root="/data/coco/val")).tolist() == [1, 2]
    assert positions_of(names, replace(truth, root="/data/coco/val", image_files=np.array(["a.jpg"]))) == [1]


def test_ids() -> None:
    truth = replace(dataset("a.jpg", "b.jpg"), image_ids=np.array([139, 7]))
    assert positions_of(["7", "9", "139"], truth).tolist() == [2, 0]


def test_what_is_not_clear_is_not_found() -> None:
    assert positions_of(["x/a.jpg", "y/a.jpg"], dataset("a.jpg")).tolist() == [-1]
    assert positions_of(["a.jpg"], dataset("x/a.jpg", "y/a.jpg")).tolist() == [-1, -1]
    assert positions_of([], dataset("a.jpg", "b.jpg")).tolist() == [-1, -1]
    assert positions_of(["a.jpg"], dataset()).tolist() == []


def test_most_are_found_where_not_all_are() -> None:
    assert positions_of(["x/a.jpg", "b.jpg"], dataset("a.jpg", "b.jpg", "c.jpg")).tolist() == [0, 1, -1]
