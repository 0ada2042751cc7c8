"""A prediction is filtered, iterated and turned into plain values."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from detkit.errors import UserError
from detkit.inference.prediction import Prediction

CLASSES = ("cat", "dog", "bird")
BOXES = np.array([[1, 2, 11, 22], [3, 4, 13, 24], [5, 6, 15, 26], [7, 8, 17, 28]], np.float32)


def prediction(source: str | None = "photos/a.jpg") -> Prediction:
    return Prediction(
        source,
        (50, 100),
        BOXES,
        np.array([0.875, 0.75, 0.5, 0.25], np.float32),
        np.array([1, 0, 1, 2]),
        ("dog", "cat", "dog", "bird"),
        classes=CLASSES,
        category_ids=(7, 3, 90),
    )


@pytest.mark.parametrize(
    ("index", "places"),
    [
        (0, [0]),
        (-1, [3]),
        (np.int64(2), [2]),
        (slice(1, 3), [1, 2]),
        (slice(None, None, -1), [3, 2, 1, 0]),
        ([3, 0], [3, 0]),
        ([], []),
        (np.array([True, False, True, False]), [0, 2]),
        ([False, True, False, True], [1, 3]),
        (torch.tensor([True, True, False, False]), [0, 1]),
        (np.array([False] * 4), []),
    ],
)
def test_places_and_truth_values_choose_detections(index: Any, places: list[int]) -> None:
    found = prediction()[index]
    np.testing.assert_array_equal(found.boxes, BOXES[places].reshape(-1, 4))
    assert found.names == tuple(("dog", "cat", "dog", "bird")[place] for place in places)
    assert found.scores.tolist() == [(0.875, 0.75, 0.5, 0.25)[place] for place in places]
    assert found.labels.tolist() == [(1, 0, 1, 2)[place] for place in places]
    assert (found.source, found.size, found.classes) == ("photos/a.jpg", (50, 100), CLASSES)
    assert len(found) == len(places)
    parts = np.arange(4 * 3 * 4, dtype=np.float32).reshape(4, 3, 4)
    chosen = replace(prediction(), parts=parts)[index].parts
    assert chosen is not None
    np.testing.assert_array_equal(chosen, parts[places])


@pytest.mark.parametrize("index", [4, -5, [0, 4], [True, False], True, [[0, 1]]])
def test_places_that_are_not_there_are_index_errors(index: Any) -> None:
    with pytest.raises(IndexError):
        prediction()[index]


def test_a_class_is_chosen_by_its_name() -> None:
    found = prediction()
    assert found.of("dog").scores.tolist() == [0.875, 0.5]
    assert found.of("bird", "cat").names == ("cat", "bird")
    assert len(found.of("dog")[:0].of("dog")) == 0
    with pytest.raises(UserError, match=r"no class 'cow'; there are cat, dog, bird"):
        found.of("dog", "cow")
    with pytest.raises(TypeError, match=r"found\.of\('dog'\)"):
        found["dog"]


def test_each_detection_comes_with_its_box_name_and_score() -> None:
    first, *rest = prediction()
    np.testing.assert_array_equal(first.box, BOXES[0])
    assert (first.name, first.score, first.label) == ("dog", 0.875, 1)
    assert [one.name for one in rest] == ["cat", "dog", "bird"]
    assert type(first.score) is float
    assert type(first.label) is int


def test_predictions_can_be_compared_and_kept_in_sets() -> None:
    found = prediction()
    assert found in [prediction(), found]
    assert found != prediction()
    assert len({found, found}) == 1


def test_plain_values_are_those_of_predict() -> None:
    assert prediction()[1:2].to_dict() == {
        "image": "photos/a.jpg",
        "width": 100,
        "height": 50,
        "detections": [
            {
                "box": [3, 4, 13, 24],
                "label": "cat",
                "category_id": 7,
                "score": 0.75,
                "margin": None,
                "keypoints": None,
            }
        ],
        "error": None,
        "frame": None,
        "time_s": None,
    }


def test_coco_results_have_widths_and_the_id_of_the_image() -> None:
    result = {"category_id": 7, "bbox": [3, 4, 10, 20], "score": 0.75}
    assert prediction().to_coco(5)[1] == {"image_id": 5, **result}
    assert prediction("val/000000000139.jpg").to_coco()[1] == {"image_id": 139, **result}
    assert prediction("val/139.jpg").to_coco(0)[1]["image_id"] == 0
    with pytest.raises(UserError, match=r"photos/a\.jpg is named by no number"):
        prediction().to_coco()
    with pytest.raises(UserError, match="the image has no file"):
        prediction(None).to_coco()


def test_one_line_says_what_it_is() -> None:
    assert repr(prediction()) == "Prediction('photos/a.jpg', 100 x 50 pixels, 4 detections)"
    assert str(Path("photos/a.jpg")) in repr([prediction()])
