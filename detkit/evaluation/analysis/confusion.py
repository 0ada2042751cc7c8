"""Confusion matrix of a detector."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from detkit.annotations.dataset import AnnotationSet, DetectionSet
from detkit.evaluation.metrics.matching import FALSE_POSITIVE, TRUE_POSITIVE, MatchRecords
from detkit.evaluation.metrics.overlaps import Columns, columns_of, corner_iou
from detkit.runtime.compiled import compiled


@compiled
def claim_free_objects(
    rows: NDArray[np.int64], columns: Columns, free: NDArray[np.bool_], iou_threshold: float
) -> NDArray[np.int64]:
    """Give each detection, in turn, the free object of its image with the highest IoU; -1 for none."""
    images, _, boxes, offsets, _, object_boxes = columns
    claimed = np.full(len(rows), -1)
    for i in range(len(rows)):
        image = images[rows[i]]
        best = iou_threshold
        for m in range(offsets[image], offsets[image + 1]):
            if free[m]:
                iou = corner_iou(boxes, rows[i], object_boxes, m)
                if iou > best or (iou == best and claimed[i] < 0):
                    best, claimed[i] = iou, m
        if claimed[i] >= 0:
            free[claimed[i]] = False
    return claimed


def confusion_matrix(
    truth: AnnotationSet,
    detections: DetectionSet,
    records: MatchRecords,
    *,
    iou: float = 0.5,
    min_score: float | NDArray[np.float64] = 0.5,
) -> NDArray[np.int64]:
    """Return the (K + 1, K + 1) number of objects by true class (row) and found class (column).

    Correct pairs come first, as the metric made them. Then every false detection, by falling score, takes
    the object it overlaps most of those still free, whatever its class. What is left over is the last row
    (detections of background) and the last column (objects missed). Ignored objects and detections count
    nowhere.

    Args:
        truth: N images and their objects of K classes.
        detections: D detections.
        records: what became of them by a metric.
        iou: the threshold to look at.
        min_score: lowest score of a detection that counts, one or (K,), as a user would set it.

    Example:
        >>> from detkit.evaluation.example import two_images_matched
        >>> confusion_matrix(*two_images_matched())
        array([[1, 0, 0],
               [0, 1, 1],
               [0, 1, 0]])
    """
    column, num_classes = records.at(iou), len(truth.classes)
    states, matched = records.state[:, column], records.matched[:, column]
    loud = detections.scores >= np.broadcast_to(min_score, num_classes)[detections.labels]
    true = np.flatnonzero((states == TRUE_POSITIVE) & loud)
    false = np.flatnonzero((states == FALSE_POSITIVE) & loud)
    false = false[np.argsort(-detections.scores[false], kind="stable")]
    free = records.counts.copy()
    free[matched[true]] = False
    claimed = claim_free_objects(false, columns_of(truth, detections), free, iou)
    matrix = np.zeros((num_classes + 1, num_classes + 1), np.int64)
    np.add.at(matrix, (truth.labels[matched[true]], detections.labels[true]), 1)
    of_object = np.append(truth.labels, num_classes)[claimed]  # -1 reads the appended background
    np.add.at(matrix, (of_object, detections.labels[false]), 1)
    matrix[:-1, -1] += np.bincount(truth.labels[free], minlength=num_classes)
    return matrix
