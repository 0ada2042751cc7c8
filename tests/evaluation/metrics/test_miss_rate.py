from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from detkit.annotations.coordinates import to_corners
from detkit.annotations.dataset import AnnotationSet, DetectionSet
from detkit.evaluation.example import two_images
from detkit.evaluation.measure import measure
from detkit.evaluation.metrics.matching import FALSE_POSITIVE, IGNORED, TRUE_POSITIVE
from detkit.evaluation.metrics.miss_rate import DetCurve, evaluate_miss_rate, log_average
from tests.reference.miss_rate import miss_rate
from tests.reference.random_sets import random_sets


def slow(truth: AnnotationSet, found: DetectionSet, label: int) -> float:
    images, ignore = truth.image_index(), truth.difficult | truth.crowd
    boxes, found_boxes = to_corners(truth.boxes, "coco"), to_corners(found.boxes, "coco")
    objects = [
        (int(images[row]), tuple(boxes[row].tolist()), bool(ignore[row]))
        for row in np.flatnonzero(truth.labels == label)
    ]
    detections = [
        (int(found.images[row]), tuple(found_boxes[row].tolist()), float(found.scores[row]))
        for row in np.flatnonzero(found.labels == label)
    ]
    if all(ignored for *_, ignored in objects):
        return float("nan")
    return miss_rate(objects, detections, truth.num_images)


@pytest.mark.parametrize("seed", range(12))
def test_equals_the_reference(seed: int) -> None:
    truth, found = random_sets(seed)
    # All scores differ: which of equal overlaps is taken is seen in the examples below.
    rng = np.random.default_rng(seed)
    boxes = found.boxes + rng.uniform(0, 0.01, found.boxes.shape)
    found = replace(found, scores=rng.permutation(len(found.scores)) / 1000, boxes=boxes)
    ours = evaluate_miss_rate(truth, found)
    expected = [slow(truth, found, label) for label in range(len(truth.classes))]
    np.testing.assert_allclose(ours.miss_rate, expected, rtol=1e-12)


def people(
    objects: list[list[float]], crowd: list[bool], found: list[list[float]], scores: list[float]
) -> tuple[AnnotationSet, DetectionSet]:
    """One class in the first of two images; boxes are x, y, width and height."""
    truth, detections = two_images()
    number = len(objects)
    truth = replace(
        truth,
        offsets=np.array([0, number, number]),
        boxes=np.array(objects, np.float64),
        labels=np.zeros(number, np.int32),
        difficult=np.zeros(number, np.bool_),
        crowd=np.array(crowd),
        areas=np.ones(number),
        ids=np.arange(number),
    )
    rows = len(found)
    return truth, replace(
        detections,
        images=np.zeros(rows, np.int64),
        labels=np.zeros(rows, np.int32),
        scores=np.array(scores),
        boxes=np.array(found, np.float64),
    )


def test_a_detection_takes_the_best_object_that_is_free() -> None:
    # The second one overlaps the taken object more, and still finds the other; a third is false.
    near = [[0.0, 0, 10, 10], [3.0, 0, 10, 10]]
    pair = people(
        near, [False, False], [[0.0, 0, 10, 10], [1.0, 0, 10, 10], [1.0, 0, 10, 10]], [0.9, 0.8, 0.7]
    )
    result = evaluate_miss_rate(*pair)
    assert result.records.state[:, 0].tolist() == [TRUE_POSITIVE, TRUE_POSITIVE, FALSE_POSITIVE]
    assert result.records.matched[:, 0].tolist() == [0, 1, -1]
    assert result.curves[0].miss_rate.tolist() == [0.5, 0.0, 0.0]
    assert result.curves[0].false_positives.tolist() == [0.0, 0.0, 0.5]  # two images


def test_a_crowd_absorbs_any_number_that_lie_in_it_by_half() -> None:
    crowd = [[0.0, 0, 100, 100], [200.0, 0, 10, 10]]
    inside, half, less = [10.0, 10, 5, 5], [95.0, 0, 10, 10], [96.0, 0, 10, 10]
    pair = people(crowd, [True, False], [inside, inside, half, less], [0.9, 0.8, 0.7, 0.6])
    result = evaluate_miss_rate(*pair)
    assert result.records.state[:, 0].tolist() == [IGNORED, IGNORED, IGNORED, FALSE_POSITIVE]
    assert result.curves[0].scores.tolist() == [0.6]


def test_an_object_goes_before_a_crowd_and_half_is_enough() -> None:
    objects = [[0.0, 0, 10, 10], [0.0, 0, 50, 50]]
    pair = people(objects, [False, True], [[0.0, 0, 10, 20], [0.0, 0, 10, 10]], [0.9, 0.8])
    assert evaluate_miss_rate(*pair).records.state[:, 0].tolist() == [TRUE_POSITIVE, IGNORED]


def test_miss_rates_are_read_at_nine_points_and_averaged_by_logarithm() -> None:
    # Nothing is found up to 0.1, a half up to 0.5, three quarters from there on.
    curve = DetCurve(np.array([0.1, 0.5, 0.9]), np.array([0.5, 0.25, 0.25]), np.zeros(3))
    # 0.01 to 0.056: 1 (4 points), 0.1 to 0.32: 0.5 (3), 0.56 and 1: 0.25 (2).
    assert log_average(curve) == pytest.approx((0.5**3 * 0.25**2) ** (1 / 9))
    assert log_average(DetCurve(np.zeros(1), np.zeros(1), np.zeros(1))) == pytest.approx(1e-10)
    assert log_average(DetCurve(np.zeros(0), np.zeros(0), np.zeros(0))) == 1


def test_without_objects_there_is_none() -> None:
    truth, found = two_images()
    result = evaluate_miss_rate(replace(truth, difficult=np.array([True, False, False])), found)
    assert np.isnan(result.miss_rate[0])
    assert result.mean == result.miss_rate[1]


def test_it_decides_where_it_is_asked_for_and_less_is_better() -> None:
    measured = measure(*two_images(), "miss_rate")
    assert next(iter(measured.columns)) == "miss_rate"
    assert measured.value == pytest.approx((1e-10 + 0.5 ** (2 / 9)) / 2)
    assert measured.quality[0] == pytest.approx(1 - measured.value)
    assert measured.to_json()["miss_rate"] == measured.value
    assert "map" not in measured.to_json()
    assert measured.records.state.shape == (4, 1)
    assert "miss_rate" not in measure(*two_images(), "voc07").columns
