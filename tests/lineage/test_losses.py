"""Which step lost an object."""

from __future__ import annotations

import numpy as np

from detkit.annotations.dataset import AnnotationSet, DetectionSet
from detkit.explain.lives import LostObjects
from detkit.lineage.losses import REASONS, where_lost

SIDE, GAP = 20.0, 100.0


def square(place: int, *, right: float = 0.0, label: int = 0, score: float = 0.9) -> tuple[float, ...]:
    return (place // 4, label, score, GAP * (place % 4) + right, 10.0, SIDE, SIDE)


def detections(*rows: tuple[float, ...]) -> DetectionSet:
    values = np.array(rows, np.float64).reshape(-1, 7)
    return DetectionSet(
        values[:, 0].astype(np.int64), values[:, 1].astype(np.int32), values[:, 2], values[:, 3:], "coco"
    )


def labelled(num_images: int) -> AnnotationSet:
    """Return images with four squares of the first class each."""
    count = 4 * num_images
    found = detections(*(square(place) for place in range(count)))
    return AnnotationSet(
        classes=("square", "disc"),
        category_ids=np.arange(1, 3),
        image_files=np.array([f"{i}.jpg" for i in range(num_images)]),
        image_ids=np.arange(num_images) + 1,
        sizes=np.full((num_images, 2), 500, np.int32),
        offsets=np.arange(num_images + 1) * 4,
        boxes=found.boxes,
        box_format="coco",
        labels=found.labels,
        difficult=np.zeros(count, np.bool_),
        crowd=np.zeros(count, np.bool_),
        areas=np.full(count, SIDE * SIDE),
        ids=np.arange(count) + 1,
        root="",
        sources=np.full(num_images, ""),
    )


def test_steps_of_a_detector_that_drop_boxes_are_one_reason() -> None:
    outcomes = ["found", "", "nms", "taken", "post_nms", "rejected", "rejected", "poor_box", "found"]
    assert where_lost(LostObjects(np.array(outcomes), {})) == {
        "not_proposed": 0,
        "rejected": 2,
        "wrong_class": 0,
        "poor_box": 1,
        "suppressed": 3,
    }


def test_with_all_objects_found_there_are_no_reasons() -> None:
    assert where_lost(LostObjects(np.array(["found", ""]), {})) == dict.fromkeys(REASONS, 0)
