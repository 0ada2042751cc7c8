from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from detkit.annotations.coordinates import from_corners, to_corners
from detkit.annotations.dataset import AnnotationSet, DetectionSet
from detkit.evaluation.example import two_images
from detkit.evaluation.measure import measure, table
from detkit.evaluation.metrics.ilsvrc import evaluate_ilsvrc, wanted_iou
from detkit.evaluation.metrics.matching import FALSE_POSITIVE, IGNORED, TRUE_POSITIVE
from detkit.evaluation.metrics.voc import evaluate_voc
from tests.evaluation.metrics.test_miss_rate import people
from tests.reference.ilsvrc import average_precision
from tests.reference.random_sets import random_sets


def slow(truth: AnnotationSet, found: DetectionSet, label: int) -> float:
    boxes, found_boxes = (from_corners(to_corners(s.boxes, "coco"), "voc") for s in (truth, found))
    images = truth.image_index()
    objects = [
        (int(images[row]), tuple(boxes[row].tolist())) for row in np.flatnonzero(truth.labels == label)
    ]
    detections = [
        (int(found.images[row]), tuple(found_boxes[row].tolist()), float(found.scores[row]))
        for row in np.flatnonzero(found.labels == label)
    ]
    return average_precision(objects, detections) if objects else float("nan")


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("scale", [1.0, 0.3])
def test_equals_the_reference(seed: int, scale: float) -> None:
    truth, found = random_sets(seed)
    rng = np.random.default_rng(seed)
    nothing = np.zeros(len(truth.labels), np.bool_)
    truth = replace(truth, boxes=truth.boxes * scale, difficult=nothing, crowd=nothing)
    boxes = (found.boxes + rng.uniform(0, 0.01, found.boxes.shape)) * scale
    found = replace(found, scores=rng.permutation(len(found.scores)) / 1000, boxes=boxes)
    expected = [slow(truth, found, label) for label in range(len(truth.classes))]
    np.testing.assert_allclose(evaluate_ilsvrc(truth, found).ap, expected, rtol=1e-12)


def test_less_is_asked_of_small_objects() -> None:
    # The readme's own example: an object of 10 x 10 pixels in a detection of 20 x 20.
    truth, found = people([[20, 20, 10, 10]], [False], [[15, 15, 20, 20]], [0.5])
    assert evaluate_ilsvrc(truth, found).ap[0] == 1
    assert evaluate_voc(truth, found).ap10[0] == 0
    sides = np.array([[1.0, 1, 1, 1], [1, 1, 24, 24], [1, 1, 25, 25], [1, 1, 5, 300]])
    np.testing.assert_allclose(wanted_iou(sides), [1 / 121, 576 / 1156, 0.5, 1500 / (15 * 310)])


def test_a_detection_takes_the_best_object_that_is_free() -> None:
    objects, found = [[0, 0, 60, 60], [0, 0, 60, 50]], [[0, 0, 60, 60], [0, 0, 60, 59]]
    truth, detections = people(objects, [False, False], [list(map(float, box)) for box in found], [0.9, 0.8])
    result = evaluate_ilsvrc(truth, detections)
    assert result.ap[0] == 1
    assert result.records.matched[:, 0].tolist() == [0, 1]
    assert evaluate_voc(truth, detections).ap10[0] == 0.5


def test_crowds_neither_count_nor_make_false() -> None:
    objects, found = [[0, 0, 60, 60], [0, 0, 60, 56]], [[0, 0, 60, 57]] * 3 + [[70, 70, 20, 20]]
    truth, detections = people(objects, [True, False], found, [0.9, 0.8, 0.7, 0.6])
    result = evaluate_ilsvrc(truth, detections)
    assert result.records.state[:, 0].tolist() == [TRUE_POSITIVE, IGNORED, IGNORED, FALSE_POSITIVE]
    assert result.ap[0] == 1


def test_it_decides_where_it_is_asked_for() -> None:
    measured = measure(*two_images(), "ilsvrc")
    assert next(iter(measured.columns)) == "ilsvrc"
    assert measured.value == pytest.approx(0.625)
    assert measured.records.counts.tolist() == [True] * 3
    assert table(measured)[0][1][0] == "ILSVRC AP"
    assert measured.to_json()["per_class"]["dog"]["ilsvrc"] == 0.25
    assert measured.to_json()["ilsvrc"] == measured.value
    assert "ilsvrc" not in measure(*two_images(), "voc07").columns
