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


def test_areas_and_overlaps_at_exactly_the_limits() -> None:
    sizes = [(31, 33), (32, 32), (95, 97), (96, 96)]
    truth, found = scene([("a", (200 * i, 0, w, h)) for i, (w, h) in enumerate(sizes)], [])
    assert ap_by_size(truth, found, records_of(truth, found)).num_objects[0].tolist() == [1, 2, 1]
    # 60 x 100 and 60 x 100, 20 of them shared: an IoU of 0.2; a pixel more, and one that only touches.
    boxes = [(0, 0, 60, 100), (40, 0, 60, 100), (0, 200, 60, 100), (39, 200, 60, 100)]
    boxes += [(300, 0, 50, 50), (350, 0, 50, 50)]
    truth, found = scene([("a", box) for box in boxes], [])
    assert ap_by_crowding(truth, found, records_of(truth, found)).num_objects[0].tolist() == [2, 2, 2]


def test_a_false_detection_counts_against_the_group_of_the_object_that_it_overlaps() -> None:
    objects = [("a", (0, 0, 100, 100)), ("a", (300, 0, 60, 100)), ("a", (320, 0, 60, 100))]
    right = [("a", score, box) for score, (_, box) in zip((0.5, 0.4, 0.3), objects, strict=True)]
    crowd, alone, nothing = (300, 0, 10, 60), (0, 0, 10, 100), (0, 0, 9, 100)

    def of_groups(box: tuple[int, int, int, int]) -> list[float]:
        truth, found = scene(objects, [("a", 0.9, box), *right])
        return ap_by_crowding(truth, found, records_of(truth, found)).ap[0].round(3).tolist()

    assert of_groups(alone)[::2] == [0.5, 1.0]  # IoU 0.1
    assert of_groups(crowd)[::2] == [1.0, 0.667]
    assert of_groups(nothing)[::2] == [0.5, 0.667]  # counts against all
