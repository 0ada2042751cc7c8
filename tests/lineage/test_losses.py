"""Which step lost an object."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from detkit.annotations.dataset import AnnotationSet, DetectionSet
from detkit.evaluation.analysis.thresholds import advise_thresholds
from detkit.evaluation.measure import measure
from detkit.lineage.losses import REASONS, boxes_of_images, where_lost
from detkit.report.operating_point import OperatingPoint, operating_point

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


def point_of(truth: AnnotationSet, found: DetectionSet) -> OperatingPoint:
    records = measure(truth, found, "coco").records
    return operating_point(truth, found, records, advise_thresholds(truth, found, records).max_f1)


def corners(*places: int) -> NDArray[np.float32]:
    boxes = np.array([square(place)[3:] for place in places], np.float32).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    return boxes


def test_each_object_is_lost_at_the_first_step_that_holds() -> None:
    truth = labelled(3)
    found = detections(
        *(square(place) for place in (0, 1, 2, 4)),
        square(5, label=1),  # named otherwise
        square(6, right=12.0),  # near it: IoU 8 / 32
        *(square(0, right=40.0, score=0.05) for _ in range(10)),  # nothing there
        square(7, score=0.01),  # below the score of best F1, for these ten
    )
    # Of image 2 nothing is found: 8 and 9 were suppressed, 10 was scored low, 11 was not proposed.
    proposals = boxes_of_images(truth, [corners(0, 1, 2, 3), corners(4, 5, 6, 7), corners(9, 10)])
    asked: list[list[int]] = []

    def unsuppressed(images: NDArray[np.int64]) -> DetectionSet:
        asked.append(images.tolist())
        before = detections(square(8), square(9, right=2.0), square(10, score=0.01), square(11, label=1))
        return replace(before, images=np.full(4, images.tolist().index(2)))

    point = point_of(truth, found)
    assert where_lost(truth, point, proposals, unsuppressed) == {
        "not_proposed": 1,  # 11
        "rejected": 3,  # 3, 7 and 10
        "wrong_class": 1,  # 5
        "poor_box": 1,  # 6
        "suppressed": 2,  # 8, which no proposal reaches, and 9
    }
    assert asked == [[0, 1, 2]]
    everywhere = where_lost(truth, point, None, unsuppressed)
    assert (everywhere["not_proposed"], everywhere["rejected"]) == (0, 4)


def test_with_all_objects_found_nothing_is_asked() -> None:
    truth = labelled(1)
    point = point_of(truth, detections(*(square(place) for place in range(4))))
    assert where_lost(truth, point, None, None) == dict.fromkeys(REASONS, 0)  # type: ignore[arg-type]
