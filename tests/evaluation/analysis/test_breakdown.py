from __future__ import annotations

import numpy as np
import pytest

from detkit.evaluation.analysis.breakdown import ap_by_crowding, ap_by_size, highest_neighbour_iou
from detkit.evaluation.metrics.coco import evaluate_coco
from detkit.evaluation.metrics.matching import MatchRecords
from tests.reference.error_kinds import iou_xywh
from tests.reference.random_sets import random_sets
from tests.reference.small_scene import scene


def records_of(truth, found) -> MatchRecords:
    records = evaluate_coco(truth, found, records=True).records
    assert records is not None
    return records


def test_size_groups_hold_their_own_false_detections() -> None:
    truth, found = scene(
        [("a", (0, 0, 20, 20)), ("a", (100, 100, 50, 50)), ("a", (300, 300, 200, 200))],
        [("a", 0.9, (700, 700, 20, 20)), ("a", 0.8, (0, 0, 20, 20)), ("a", 0.7, (100, 100, 50, 50))],
    )
    result = ap_by_size(truth, found, records_of(truth, found))
    np.testing.assert_allclose(result.ap[0], [0.5, 1.0, 0.0])
    assert np.isnan(result.ap[1]).all()


@pytest.mark.parametrize("seed", range(10))
def test_sizes_agree_with_coco_where_boxes_keep_to_their_size(seed: int) -> None:
    rng = np.random.default_rng(seed)
    objects, detections = [], []
    for i in range(20):  # far apart, and no detection has an area of another size than its object's
        side = float(rng.choice([20.0, 60.0, 130.0]))
        box = (200.0 * (i % 5), 200.0 * (i // 5), side, side)
        objects.append(("a", box))
        if rng.random() < 0.7:
            detections.append(("a", float(rng.random()), box))
        if rng.random() < 0.5:
            shifted = (box[0] + side, box[1], side, side)
            detections.append(("a", float(rng.random()), shifted))
    truth, found = scene(objects, detections)
    coco = evaluate_coco(truth, found)
    expected = [coco.per_class([0], area)[0] for area in (1, 2, 3)]
    np.testing.assert_allclose(ap_by_size(truth, found, records_of(truth, found)).ap[0], expected, atol=1e-9)


def test_crowding_groups() -> None:
    left = [("a", 0.0), ("a", 300.0), ("b", 390.0), ("a", 600.0), ("a", 630.0)]
    objects = [(name, (x, 0.0, 100.0, 100.0)) for name, x in left]
    detections = [
        ("a", 0.9, objects[0][1]),
        ("a", 0.8, objects[4][1]),
        ("a", 0.7, (650.0, 0.0, 200.0, 100.0)),
    ]
    truth, found = scene(objects, detections)
    result = ap_by_crowding(truth, found, records_of(truth, found))
    assert result.num_objects.tolist() == [[1, 1, 2], [0, 1, 0], [0, 0, 0]]
    np.testing.assert_allclose(result.ap[0], [1.0, 0.0, 51 / 101])
    background = ("a", 0.95, (0.0, 500.0, 100.0, 100.0))
    truth, found = scene(objects, [background, *detections])
    result = ap_by_crowding(truth, found, records_of(truth, found))
    np.testing.assert_allclose(result.ap[0], [0.5, 0.0, 0.5 * 51 / 101])


@pytest.mark.parametrize("seed", range(5))
def test_neighbours_against_all_pairs(seed: int) -> None:
    truth, _ = random_sets(seed)
    corners = np.concatenate([truth.boxes[:, :2], truth.boxes[:, :2] + truth.boxes[:, 2:]], axis=1)
    highest = highest_neighbour_iou(truth.offsets, corners)
    images = truth.image_index()
    for m in range(truth.num_objects):
        others = [o for o in range(truth.num_objects) if images[o] == images[m] and o != m]
        expected = max(
            (iou_xywh(truth.boxes[m].tolist(), truth.boxes[o].tolist()) for o in others), default=0.0
        )
        assert highest[m] == pytest.approx(expected, abs=1e-9)
