"""AP by the size of objects and by how crowded they stand."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detkit.annotations.coordinates import to_corners
from detkit.annotations.dataset import AnnotationSet, DetectionSet
from detkit.evaluation.metrics.curves import curve, interpolated_ap
from detkit.evaluation.metrics.matching import IGNORED, TRUE_POSITIVE, MatchRecords
from detkit.evaluation.metrics.overlaps import corner_iou, nearest_objects
from detkit.runtime.compiled import compiled

SIZES = ("small", "medium", "large")
SIZE_LIMITS = (32.0**2, 96.0**2)
CROWDING = ("alone", "touching", "crowded")
CROWDING_LIMITS = (0.0, 0.2)
EVERY_GROUP = -1


@dataclass(frozen=True)
class Breakdown:
    """AP at one IoU threshold of G groups of objects.

    Attributes:
        groups: G names.
        ap: (K, G) float64 by 101 recalls; NaN where a class has no such objects.
        num_objects: (K, G) int64 objects that count.
    """

    groups: tuple[str, ...]
    ap: NDArray[np.float64]
    num_objects: NDArray[np.int64]


@compiled
def highest_neighbour_iou(offsets: NDArray[np.int64], boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the (M,) highest IoU of each object with another of its image."""
    highest = np.zeros(len(boxes))
    for image in range(len(offsets) - 1):
        for m in range(offsets[image], offsets[image + 1]):
            for other in range(offsets[image], m):
                iou = corner_iou(boxes, m, boxes, other)
                highest[m] = max(highest[m], iou)
                highest[other] = max(highest[other], iou)
    return highest


def ap_by_size(
    truth: AnnotationSet, detections: DetectionSet, records: MatchRecords, iou: float = 0.5
) -> Breakdown:
    """Return AP of small, medium and large objects, divided at areas of 32 x 32 and 96 x 96 pixels.

    A false detection belongs to the group of its own area. The matching is that of all sizes, so that
    the numbers can differ a little from COCO's, which matches each size anew.

    Example:
        >>> from detkit.evaluation.example import two_images_matched
        >>> ap_by_size(*two_images_matched()).num_objects
        array([[0, 1, 0],
               [1, 1, 0]])
    """
    corners = to_corners(detections.boxes, detections.box_format)
    own = np.digitize(np.prod(corners[:, 2:] - corners[:, :2], axis=1), SIZE_LIMITS)
    return _breakdown(truth, detections, records, iou, SIZES, np.digitize(truth.areas, SIZE_LIMITS), own)


def ap_by_crowding(
    truth: AnnotationSet, detections: DetectionSet, records: MatchRecords, iou: float = 0.5
) -> Breakdown:
    """Return AP of objects that stand alone, touch another of whatever class, or share an IoU above 0.2.

    A false detection belongs to the group of the object it overlaps most; one on background (IoU below
    0.1 with every object) counts against every group.

    Example:
        >>> from detkit.evaluation.example import two_images_matched
        >>> ap_by_crowding(*two_images_matched()).num_objects
        array([[1, 0, 0],
               [2, 0, 0]])
    """
    corners = to_corners(truth.boxes, truth.box_format)
    neighbour = highest_neighbour_iou(np.ascontiguousarray(truth.offsets, np.int64), corners)
    groups = np.digitize(neighbour, CROWDING_LIMITS, right=True)
    near = nearest_objects(truth, detections)
    own = np.append(groups, EVERY_GROUP)[np.where(near.any_iou >= 0.1, near.any, -1)]
    return _breakdown(truth, detections, records, iou, CROWDING, groups, own)


def _breakdown(
    truth: AnnotationSet,
    detections: DetectionSet,
    records: MatchRecords,
    iou: float,
    names: tuple[str, ...],
    object_groups: NDArray[np.int64],
    detection_groups: NDArray[np.int64],
) -> Breakdown:
    """Return AP by group: objects of other groups are ignored, and so is what belongs to them."""
    column, num_classes = records.at(iou), len(truth.classes)
    state = records.state[:, column]
    matched = records.matched[:, column]
    groups = detection_groups.copy()
    groups[state == TRUE_POSITIVE] = object_groups[matched[state == TRUE_POSITIVE]]
    ap = np.full((num_classes, len(names)), np.nan)
    num_objects = np.zeros((num_classes, len(names)), np.int64)
    np.add.at(num_objects, (truth.labels[records.counts], object_groups[records.counts]), 1)
    for k, g in zip(*np.nonzero(num_objects), strict=True):
        rows = records.rows_of(int(k), column)
        inside = (groups[rows] == g) | (groups[rows] == EVERY_GROUP)
        of_group = curve(
            np.where(inside, state[rows], IGNORED).astype(np.uint8),
            detections.scores[rows],
            num_objects[k, g],
        )
        ap[k, g] = interpolated_ap(of_group.recall, of_group.precision)
    return Breakdown(names, ap, num_objects)
