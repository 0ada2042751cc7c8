from __future__ import annotations

import secrets
from dataclasses import replace

import numpy as np
import pytest

from detkit.annotations.coordinates import corners_to_voc, xywh_to_corners
from detkit.annotations.dataset import AnnotationSet, DetectionSet
from detkit.errors import UserError
from detkit.evaluation.example import two_images
from detkit.evaluation.metrics.voc import evaluate_voc
from tests.reference.random_sets import random_sets
from tests.reference.voc_ap import slow_voc

NAMES = ("false", "true", "ignored")


def as_voc(truth: AnnotationSet, found: DetectionSet) -> tuple[AnnotationSet, DetectionSet]:
    return (
        replace(truth, boxes=corners_to_voc(xywh_to_corners(truth.boxes)), box_format="voc"),
        replace(found, boxes=corners_to_voc(xywh_to_corners(found.boxes)), box_format="voc"),
    )


def assert_devkit(seed: int) -> None:
    coco = random_sets(seed)
    truth, found = as_voc(*coco)
    for iou in (0.5, 0.3):
        ours = evaluate_voc(truth, found, iou, records=True)
        expected = slow_voc(truth, found, iou)
        np.testing.assert_allclose(ours.ap07, [row[0] for row in expected], rtol=0, atol=1e-12)
        np.testing.assert_allclose(ours.ap10, [row[1] for row in expected], rtol=0, atol=1e-12)
        assert ours.records is not None
        for label in range(len(truth.classes)):
            rows = np.flatnonzero(found.labels == label)
            rows = rows[np.argsort(-found.scores[rows], kind="stable")]
            assert [NAMES[s] for s in ours.records.state[rows, 0]] == expected[label][2], f"seed {seed}"
    np.testing.assert_array_equal(evaluate_voc(*coco).ap07, evaluate_voc(truth, found).ap07)


@pytest.mark.parametrize("block", range(8))
def test_ap_is_the_devkits(block: int) -> None:
    for seed in range(block * 10, block * 10 + 10):
        assert_devkit(seed)


def test_ap_is_the_devkits_on_fresh_data() -> None:
    for _ in range(20):
        assert_devkit(secrets.randbits(32))


@pytest.mark.slow
def test_ap_is_the_devkits_on_a_thousand_sets() -> None:
    for _ in range(1000):
        assert_devkit(secrets.randbits(32))


def one_class(
    scores: list[float], boxes: list[list[float]], objects: list[list[float]]
) -> tuple[AnnotationSet, DetectionSet]:
    """One image with objects of one class in VOC boxes."""
    truth, _ = two_images()
    count = len(objects)
    truth = replace(
        truth,
        classes=("cat",),
        category_ids=np.array([1]),
        offsets=np.array([0, count, count]),
        boxes=np.array(objects, np.float64).reshape(-1, 4),
        box_format="voc",
        labels=np.zeros(count, np.int32),
        difficult=np.zeros(count, bool),
        crowd=np.zeros(count, bool),
        areas=np.ones(count),
        ids=np.arange(count) + 1,
    )
    found = DetectionSet(
        np.zeros(len(scores), np.int64), np.zeros(len(scores), np.int32), np.array(scores),
        np.array(boxes, np.float64).reshape(-1, 4), "voc",
    )  # fmt: skip
    return truth, found


def test_iou_of_exactly_the_threshold_counts() -> None:
    # 10 x 10 pixels against 10 x 5 inside it: IoU 50 / 100 with inclusive pixels
    truth, found = one_class([0.9], [[1, 1, 10, 5]], [[1, 1, 10, 10]])
    assert evaluate_voc(truth, found).ap10[0] == 1.0


def test_the_second_detection_of_an_object_is_false_without_a_second_choice() -> None:
    objects = [[1, 1, 100, 100], [1, 1, 100, 90]]
    truth, found = one_class([0.9, 0.8], [objects[0], objects[0]], objects)
    result = evaluate_voc(truth, found, records=True)
    assert result.records is not None
    assert result.records.state[:, 0].tolist() == [1, 0]
    assert result.ap10[0] == 0.5


def test_a_difficult_object_neither_counts_nor_costs() -> None:
    truth, found = one_class([0.9, 0.8], [[1, 1, 9, 9], [20, 20, 29, 29]], [[1, 1, 9, 9], [20, 20, 29, 29]])
    truth = replace(truth, difficult=np.array([True, False]))
    result = evaluate_voc(truth, found)
    assert result.ap07[0] == 1.0
    assert result.num_objects.tolist() == [1]


def test_classes_without_objects_stay_out_of_the_mean() -> None:
    truth, found = two_images()
    truth = replace(truth, classes=("cat", "dog", "unicorn"), category_ids=np.array([1, 2, 3]))
    result = evaluate_voc(truth, found)
    assert np.isnan(result.ap07[2])
    assert result.map07 == pytest.approx(np.mean(result.ap07[:2]))
    nothing = one_class([], [], [])
    assert np.isnan(evaluate_voc(*nothing).map10)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"box_format": "voc"}, "boxes"),
        ({"images": np.array([0, 1, 0, 2])}, "detection 3: image"),
        ({"labels": np.array([0, -1, 1, 1])}, "detection 1: label"),
        ({"scores": np.array([0.9, np.nan, 0.7, 0.1])}, "detection 1: score"),
    ],
)
def test_detections_that_do_not_fit_are_refused(change: dict[str, object], message: str) -> None:
    truth, found = two_images()
    with pytest.raises(UserError, match=message):
        evaluate_voc(truth, replace(found, **change))
