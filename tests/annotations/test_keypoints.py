"""Key points of COCO's files: read, written, refused, and carried by results."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools.coco import COCO

from detkit.annotations.coco import read_coco
from detkit.annotations.coco_results import read_coco_results, write_coco_results
from detkit.annotations.coordinates import points_as
from detkit.annotations.dataset import AnnotationSet, DetectionSet, join_sets, select_images, select_objects
from detkit.annotations.keypoints import KeypointLayout, other_side
from detkit.annotations.writers import write_coco
from detkit.data.synthetic.dataset import SyntheticSet
from detkit.errors import UserError

PERSON = {
    "id": 1,
    "name": "person",
    "keypoints": ["nose", "left_eye", "right_eye"],
    "skeleton": [[1, 2], [1, 3]],
}
DOG = {"id": 2, "name": "dog", "keypoints": ["tail", "nose"], "skeleton": [[1, 2]]}
CAR = {"id": 3, "name": "car"}


def thing(number: int, category: int, **more: Any) -> dict[str, Any]:
    return {"id": number, "image_id": 7, "category_id": category, "bbox": [1, 2, 30, 40], **more}


def content(*objects: dict[str, Any], categories: Any = (PERSON, DOG, CAR)) -> dict[str, Any]:
    images = [{"id": 7, "file_name": "a.jpg", "height": 100, "width": 100}]
    return {"images": images, "annotations": list(objects), "categories": list(categories)}


def read(folder: Path, what: dict[str, Any], **more: Any) -> AnnotationSet:
    file = folder / "points.json"
    file.write_text(json.dumps(what))
    return read_coco(folder, file, **more)


MIXED = (
    thing(1, 1, keypoints=[5, 6, 2, 7.5, 8, 1, 0, 0, 0], num_keypoints=2),
    thing(2, 3),
    thing(3, 2, keypoints=[1, 2, 2, 3, 4, 2]),
    thing(4, 1),
)


def test_points_of_all_categories_are_read_by_their_names(tmp_path: Path) -> None:
    truth = read(tmp_path, content(*MIXED))
    assert truth.layout == KeypointLayout(("nose", "left_eye", "right_eye", "tail"), ((0, 1), (0, 2), (3, 0)))
    assert truth.keypoints is not None
    assert truth.keypoints.tolist() == [
        [[5, 6, 2], [7.5, 8, 1], [0, 0, 0], [0, 0, 0]],
        [[0, 0, 0]] * 4,
        [[3, 4, 2], [0, 0, 0], [0, 0, 0], [1, 2, 2]],
        [[0, 0, 0]] * 4,
    ]
    few = read(tmp_path, content(*MIXED), classes=["dog"], ignore_classes=["person", "car"])
    assert few.keypoints is not None
    assert few.keypoints.tolist() == [truth.keypoints[2].tolist()]


def test_a_file_without_names_has_no_points(tmp_path: Path) -> None:
    truth = read(tmp_path, content(thing(1, 3, keypoints=[1, 2, 2]), categories=[CAR]))
    assert truth.keypoints is None
    assert truth.layout is None


@pytest.mark.parametrize(
    ("points", "categories", "message"),
    [
        ([1, 2], (PERSON,), r"annotations\[0\] \(id 1\): keypoints must be x, y and 0, 1 or 2 of each of 3"),
        ([1, 2, 3] * 3, (PERSON,), "0, 1 or 2"),
        (["x", 2, 2] * 3, (PERSON,), "found"),
        ([1e99, 2, 2] * 3, (PERSON,), "found"),
        ("nose", (PERSON,), "found nose|found 'nose'"),
        (
            [1, 2, 2] * 3,
            ({**PERSON, "keypoints": ["a", "a", "b"]},),
            r"categories\[0\]: keypoints must be names",
        ),
        ([1, 2, 2] * 3, ({**PERSON, "keypoints": "nose"},), "keypoints must be names"),
        ([1, 2, 2] * 3, ({**PERSON, "skeleton": [[0, 1]]},), "pairs of numbers from 1 to 3"),
        ([1, 2, 2] * 3, ({**PERSON, "skeleton": [[1, 4]]},), "pairs of numbers from 1 to 3"),
        ([1, 2, 2] * 3, ({**PERSON, "skeleton": 5},), "pairs of numbers"),
    ],
)
def test_malformed_points_are_refused_by_name(
    points: Any, categories: Any, message: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=message):
        read(tmp_path, content(thing(1, 1, keypoints=points), categories=categories))


def test_points_are_written_as_pycocotools_reads_them(tmp_path: Path) -> None:
    truth = read(tmp_path, content(*MIXED))
    write_coco(tmp_path / "out", "all", truth)
    file = tmp_path / "out/annotations/instances_all.json"
    again = read_coco(tmp_path, file)
    assert again.layout == truth.layout
    np.testing.assert_array_equal(again.keypoints, truth.keypoints)
    theirs = COCO(str(file))
    assert [theirs.anns[number]["num_keypoints"] for number in (1, 2, 3, 4)] == [2, 0, 2, 0]
    assert theirs.anns[1]["keypoints"][:6] == [5, 6, 2, 7.5, 8, 1]


def test_voc_points_are_written_from_pixel_0_on(tmp_path: Path) -> None:
    truth = SyntheticSet(2, classes=("kite", "dart")).annotations()
    write_coco(tmp_path, "all", truth)
    again = read_coco(tmp_path, tmp_path / "annotations/instances_all.json")
    assert truth.keypoints is not None
    assert again.keypoints is not None
    shows = truth.keypoints[:, :, 2] > 0
    np.testing.assert_allclose(again.keypoints[shows][:, :2], truth.keypoints[shows][:, :2] - 1)
    assert not again.keypoints[~shows].any()


def test_points_go_with_their_objects(tmp_path: Path) -> None:
    truth = read(tmp_path, content(*MIXED))
    assert truth.keypoints is not None
    some = select_objects(truth, np.array([False, True, True, False]))
    np.testing.assert_array_equal(some.keypoints, truth.keypoints[1:3])
    twice = select_images(truth, [0, 0])
    np.testing.assert_array_equal(twice.keypoints, np.concatenate([truth.keypoints] * 2))
    joined = join_sets([truth, truth], tmp_path)
    np.testing.assert_array_equal(joined.keypoints, truth.keypoints)
    assert joined.layout == truth.layout


@pytest.mark.parametrize("box_format", ["coco", "voc"])
def test_results_carry_points(box_format: Any, tmp_path: Path) -> None:
    truth = replace(read(tmp_path, content(*MIXED)), box_format=box_format)
    points = np.random.default_rng(0).random((3, 4, 2)) * 90
    found = DetectionSet(
        np.zeros(3, np.int64), np.array([0, 1, 0], np.int32), np.array([0.5, 0.25, 0.125]),
        np.array([[1.0, 2, 30, 40]] * 3), box_format, points,
    )  # fmt: skip
    write_coco_results(tmp_path / "results.json", found, truth)
    record = json.loads((tmp_path / "results.json").read_text())[0]
    assert record["keypoints"][2::3] == [1, 1, 1, 1]
    assert record["keypoints"][0] == points_as(points, box_format, "coco")[0, 0, 0]
    again = read_coco_results(tmp_path / "results.json", truth)
    np.testing.assert_allclose(again.keypoints, points)  # type: ignore[arg-type]
    (tmp_path / "results.json").write_text(json.dumps([record, {**record, "keypoints": [1, 2]}]))
    with pytest.raises(UserError, match="of as many points in every result"):
        read_coco_results(tmp_path / "results.json", truth)


def test_left_and_right_change_places() -> None:
    layout = KeypointLayout(("nose", "left_eye", "right_eye", "LeftPaw", "tail_right"))
    assert layout.mirrored == (0, 2, 1, 3, 4)  # whose other sides are not among them stay
    assert other_side("left_of_right") == "right_of_left"
