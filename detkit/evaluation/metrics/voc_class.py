"""The VOC devkit's matching of one class, compiled."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from detkit.evaluation.metrics.matching import FALSE_POSITIVE, IGNORED, TRUE_POSITIVE
from detkit.runtime.compiled import compiled


@compiled
def inclusive_iou(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """IoU of two boxes whose last pixel belongs to them, so that width = x2 - x1 + 1."""
    width = min(a[2], b[2]) - max(a[0], b[0]) + 1
    height = min(a[3], b[3]) - max(a[1], b[1]) + 1
    if width <= 0 or height <= 0:
        return 0.0
    shared = width * height
    area_a = (a[2] - a[0] + 1) * (a[3] - a[1] + 1)
    area_b = (b[2] - b[0] + 1) * (b[3] - b[1] + 1)
    iou: float = shared / (area_a + area_b - shared)
    return iou


@compiled
def match_voc_class(
    rows: NDArray[np.int32],
    images: NDArray[np.int64],
    boxes: NDArray[np.float64],
    object_rows: NDArray[np.int32],
    object_images: NDArray[np.int64],
    object_boxes: NDArray[np.float64],
    ignore: NDArray[np.bool_],
    num_images: int,
    iou_threshold: float,
    state: NDArray[np.uint8],
    matched: NDArray[np.int32],
    matched_iou: NDArray[np.float64],
    found_by: NDArray[np.int32],
) -> None:
    """Fill the state of one class's detections, taken by falling score.

    `object_rows` are the objects of the class by image. Each detection is compared with every one of
    its image; the first of the highest IoU decides, with no second choice when it is already taken.
    """
    first = np.zeros(num_images, np.int32)
    count = np.zeros(num_images, np.int32)
    for position in range(len(object_rows)):
        image = object_images[object_rows[position]]
        if count[image] == 0:
            first[image] = position
        count[image] += 1
    for row in rows:
        image = images[row]
        best, best_object = -1.0, -1
        for position in range(first[image], first[image] + count[image]):
            overlap = inclusive_iou(boxes[row], object_boxes[object_rows[position]])
            if overlap > best:
                best, best_object = overlap, object_rows[position]
        state[row] = FALSE_POSITIVE
        if best_object < 0 or best < iou_threshold:
            continue
        if ignore[best_object]:
            state[row] = IGNORED
        elif found_by[best_object] < 0:
            state[row] = TRUE_POSITIVE
        else:
            continue
        matched[row], matched_iou[row] = best_object, best
        if found_by[best_object] < 0:
            found_by[best_object] = row
