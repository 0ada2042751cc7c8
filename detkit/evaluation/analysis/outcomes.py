"""Outcome of each object: detected, or why it was missed."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from detkit.annotations.dataset import AnnotationSet, DetectionSet
from detkit.evaluation.metrics.matching import UNUSED, MatchRecords
from detkit.evaluation.metrics.overlaps import Columns, columns_of, corner_iou
from detkit.runtime.compiled import compiled

OUTCOMES = ("found", "ignored", "shared", "over_limit", "misnamed", "misplaced", "unseen")
FOUND, IGNORED_OBJECT, SHARED, OVER_LIMIT, MISNAMED, MISPLACED, UNSEEN = range(7)
OWN, LATE, OTHER = range(3)  # detections of the object's class, those of them over the limit, other classes


@compiled
def fill_best(columns: Columns, late: NDArray[np.bool_], best: NDArray[np.float64]) -> None:
    """Fill each object's (M, 3) highest IoU with detections of its class, late ones and other classes."""
    images, labels, boxes, offsets, object_labels, object_boxes = columns
    for d in range(len(images)):
        for m in range(offsets[images[d]], offsets[images[d] + 1]):
            own = OTHER
            if object_labels[m] == labels[d]:
                own = LATE if late[d] else OWN
            best[m, own] = max(best[m, own], corner_iou(boxes, d, object_boxes, m))


def object_outcomes(
    truth: AnnotationSet,
    detections: DetectionSet,
    records: MatchRecords,
    iou: float = 0.5,
    background_iou: float = 0.1,
) -> NDArray[np.int8]:
    """Return for each of the M objects what became of it, as an index into OUTCOMES.

    An object that counts and has no detection of its own is, by the first of these that holds: shared (a
    detection of its class reaches it but went to another object), over_limit (one does, below the limit
    of detections per image), misnamed (one of another class does), misplaced (one of its class comes
    as near as `background_iou`), unseen.

    Args:
        truth: N images and their M objects.
        detections: D detections.
        records: what became of them by a metric.
        iou: the threshold to look at.
        background_iou: IoU below which a detection has nothing to do with an object.

    Example:
        >>> from detkit.evaluation.example import two_images_matched
        >>> [OUTCOMES[outcome] for outcome in object_outcomes(*two_images_matched())]
        ['found', 'found', 'unseen']
    """
    column = records.at(iou)
    best = np.zeros((truth.num_objects, 3))
    fill_best(columns_of(truth, detections), records.state[:, column] == UNUSED, best)
    conditions = [
        ~records.counts,
        records.found_by[:, column] >= 0,
        best[:, OWN] >= iou,
        best[:, LATE] >= iou,
        best[:, OTHER] >= iou,
        best[:, [OWN, LATE]].max(axis=1) >= background_iou,
    ]
    choices = [IGNORED_OBJECT, FOUND, SHARED, OVER_LIMIT, MISNAMED, MISPLACED]
    return np.select(conditions, choices, UNSEEN).astype(np.int8)
