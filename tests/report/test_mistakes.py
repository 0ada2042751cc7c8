from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from detkit.annotations.dataset import AnnotationSet, DetectionSet
from detkit.evaluation.analysis.thresholds import Operating
from detkit.evaluation.example import two_images
from detkit.evaluation.metrics.voc import evaluate_voc
from detkit.report import mistakes
from detkit.report.mistakes import worst_mistakes
from detkit.report.operating_point import OperatingPoint, operating_point


def blank(index: int) -> np.ndarray:
    return np.full((100, 100, 3), 120, np.uint8)


def point_of(truth: AnnotationSet, found: DetectionSet, *thresholds: float) -> OperatingPoint:
    """The detections of at least these scores, one a class; all where none is given."""
    records = evaluate_voc(truth, found, records=True).records
    assert records is not None
    chosen = np.array(thresholds or [0.0, 0.0])
    return operating_point(truth, found, records, Operating(chosen, chosen, chosen, chosen))


def test_false_detections_by_score_and_missed_objects_take_turns() -> None:
    truth, found = two_images()
    (dog,) = worst_mistakes(truth, point_of(truth, found), blank)
    assert (dog.label, dog.name, dog.note) == (1, "dog", "2 false, 1 missed")
    assert [(p.tag, p.caption, p.note) for p in dog.pictures] == [
        ("nothing there", "dog 0.80", "b.jpg"),
        ("missed", "dog", "b.jpg"),
        ("nothing there", "dog 0.10", "b.jpg"),
    ]
    assert all(max(p.image.shape) == 320 for p in dog.pictures)
    (sure,) = worst_mistakes(truth, point_of(truth, found, 0.9, 0.7), blank)
    assert [p.caption for p in sure.pictures] == ["dog 0.80", "dog"], "the one at 0.1 is below the threshold"


def test_key_points_lie_in_their_boxes(monkeypatch: pytest.MonkeyPatch) -> None:
    truth, found = two_images()
    points = found.boxes[:, None, :2] + np.array([[2.5, 4.5]])  # COCO numbers pixels: 3 and 5 from the corner
    seen: list[list[float]] = []

    def draw(
        image: np.ndarray, boxes: np.ndarray, *_: object, keypoints: np.ndarray, **more: object
    ) -> np.ndarray:
        seen.extend((keypoints[:, 0] - boxes[:, :2]).tolist())
        return image

    monkeypatch.setattr(mistakes, "CROP_PX", 100)
    monkeypatch.setattr(mistakes, "LEAST_PX", 100)  # all of the image, as it is
    monkeypatch.setattr(mistakes, "draw_detections", draw)
    worst_mistakes(truth, point_of(truth, replace(found, keypoints=points)), blank)
    assert seen
    np.testing.assert_allclose(seen, [[3, 5]] * len(seen))


def test_an_object_found_below_the_threshold_is_no_object_that_nothing_came_near() -> None:
    truth, found = two_images()
    _, dog = worst_mistakes(truth, point_of(truth, found, 0.95, 0.75), blank)
    assert [p.tag for p in dog.pictures if p.caption == "dog"] == ["score too low", "missed"]


def test_every_class_gets_as_many_pictures() -> None:
    truth, found = two_images()
    cats = replace(found, labels=np.array([1, 0, 0, 0], np.int32))
    for limit, expected in ((2, [1, 1]), (3, [2, 1]), (4, [2, 2])):
        groups = worst_mistakes(truth, point_of(truth, cats), blank, limit=limit)
        assert [group.name for group in groups] == ["cat", "dog"]
        assert [len(group.pictures) for group in groups] == expected


def test_the_reason_is_named() -> None:
    truth, _ = two_images()
    found = DetectionSet(
        images=np.array([0, 0, 0, 0]),
        labels=np.array([0, 0, 1, 0], np.int32),
        scores=np.array([0.9, 0.8, 0.7, 0.6]),
        boxes=np.array([[10.0, 10, 40, 40], [11, 10, 40, 40], [10, 10, 41, 40], [30, 30, 40, 40]]),
        box_format="coco",
    )
    cat, dog = worst_mistakes(truth, point_of(truth, found), blank)
    assert [p.tag for p in cat.pictures if p.tag != "missed"] == ["found twice", "poor box"]
    assert [p.tag for p in dog.pictures if p.tag != "missed"] == ["wrong class"]


def test_each_image_is_read_once_and_difficult_objects_are_not_missed() -> None:
    truth, found = two_images()
    truth = replace(truth, difficult=np.array([False, False, True]))
    read: list[int] = []

    def pixels(index: int) -> np.ndarray:
        read.append(index)
        return blank(index)

    groups = worst_mistakes(truth, point_of(truth, found), pixels)
    assert "missed" not in {p.tag for group in groups for p in group.pictures}
    assert len(read) == len(set(read))


def test_no_mistakes_no_pictures() -> None:
    truth, found = two_images()
    perfect = DetectionSet(
        truth.image_index(), truth.labels, np.ones(truth.num_objects), truth.boxes, found.box_format
    )
    assert worst_mistakes(truth, point_of(truth, perfect), blank) == ()
