"""Overlap of every detection with the objects of its image, of its own class and of others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from detkit.annotations.coordinates import to_corners
from detkit.annotations.dataset import AnnotationSet, DetectionSet
from detkit.runtime.compiled import compiled


@dataclass(frozen=True)
class Nearest:
    """For D detections the object with the highest IoU, among those of the same class and of others.

    Attributes:
        same_iou: (D,) float64, 0 without one.
        same: (D,) int32 row of that object, -1 without one.
        other_iou: (D,) float64, 0 without one.
        other: (D,) int32 row of that object, -1 without one.
    """

    same_iou: NDArray[np.float64]
    same: NDArray[np.int32]
    other_iou: NDArray[np.float64]
    other: NDArray[np.int32]

    @property
    def any_iou(self) -> NDArray[np.float64]:
        """(D,) highest IoU with an object of whatever class."""
        return np.maximum(self.same_iou, self.other_iou)

    @property
    def any(self) -> NDArray[np.int32]:
        """(D,) row of that object, -1 without one; of equal ones that of the same class."""
        return np.where(self.same_iou >= self.other_iou, self.same, self.other)


class Columns(NamedTuple):
    """Detections and the objects of their images, as the compiled loops want them; boxes are corners."""

    images: NDArray[np.int64]
    labels: NDArray[np.int64]
    boxes: NDArray[np.float64]
    offsets: NDArray[np.int64]
    object_labels: NDArray[np.int64]
    object_boxes: NDArray[np.float64]


def columns_of(truth: AnnotationSet, detections: DetectionSet) -> Columns:
    """Return the columns of annotations and detections that overlaps are computed from.

    Example:
        >>> from detkit.evaluation.example import two_images
        >>> columns_of(*two_images()).boxes[0]
        array([10., 10., 50., 50.])
    """
    return Columns(
        np.ascontiguousarray(detections.images, np.int64),
        np.ascontiguousarray(detections.labels, np.int64),
        to_corners(detections.boxes, detections.box_format),
        np.ascontiguousarray(truth.offsets, np.int64),
        np.ascontiguousarray(truth.labels, np.int64),
        to_corners(truth.boxes, truth.box_format),
    )


@compiled
def corner_iou(a: NDArray[np.float64], i: int, b: NDArray[np.float64], j: int) -> float:
    """IoU of corner boxes a[i] and b[j]; 0 where they have no area in common."""
    width = min(a[i, 2], b[j, 2]) - max(a[i, 0], b[j, 0])
    height = min(a[i, 3], b[j, 3]) - max(a[i, 1], b[j, 1])
    if width <= 0 or height <= 0:
        return 0.0
    shared = width * height
    area_a = (a[i, 2] - a[i, 0]) * (a[i, 3] - a[i, 1])
    area_b = (b[j, 2] - b[j, 0]) * (b[j, 3] - b[j, 1])
    iou: float = shared / (area_a + area_b - shared)
    return iou


@compiled
def fill_nearest(
    columns: Columns, eligible: NDArray[np.bool_], ious: NDArray[np.float64], objects: NDArray[np.int32]
) -> None:
    """Fill (D, 2) highest IoU and object row, column 0 for the same class and 1 for others."""
    images, labels, boxes, offsets, object_labels, object_boxes = columns
    for d in range(len(images)):
        for m in range(offsets[images[d]], offsets[images[d] + 1]):
            if eligible[m]:
                iou = corner_iou(boxes, d, object_boxes, m)
                column = int(object_labels[m] != labels[d])
                if iou > ious[d, column]:
                    ious[d, column], objects[d, column] = iou, m


def nearest_objects(
    truth: AnnotationSet, detections: DetectionSet, eligible: NDArray[np.bool_] | None = None
) -> Nearest:
    """Return the nearest object of each detection, whatever other detections claim.

    Args:
        truth: N images and their M objects.
        detections: D detections.
        eligible: (M,) objects to look at; None looks at all.

    Example:
        >>> from detkit.evaluation.example import two_images
        >>> nearest_objects(*two_images()).same_iou
        array([1. , 0. , 0.8, 0. ])
    """
    ious = np.zeros((len(detections.scores), 2))
    objects = np.full((len(detections.scores), 2), -1, np.int32)
    looked_at = np.ones(truth.num_objects, np.bool_) if eligible is None else eligible
    fill_nearest(columns_of(truth, detections), looked_at, ious, objects)
    return Nearest(ious[:, 0], objects[:, 0], ious[:, 1], objects[:, 1])
