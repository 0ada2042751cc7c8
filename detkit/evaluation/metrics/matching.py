"""Match records: the outcome of every detection and object at each IoU threshold."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detkit.annotations.dataset import AnnotationSet, DetectionSet
from detkit.errors import UserError
from detkit.evaluation.metrics.score_order import by_class, falling_keys, sort_by_score

FALSE_POSITIVE, TRUE_POSITIVE, IGNORED, UNUSED = 0, 1, 2, 3
"""States of a detection; UNUSED is one below the metric's limit of detections per image and class."""


@dataclass(frozen=True)
class MatchRecords:
    """The assignment behind a metric, for D detections, M objects and T IoU thresholds.

    Rows are those of the `DetectionSet` and the `AnnotationSet`. For COCO the records are those of
    all object sizes and the highest limit of detections.

    Attributes:
        thresholds: (T,) float64 IoU.
        state: (D, T) uint8, one of FALSE_POSITIVE, TRUE_POSITIVE, IGNORED, UNUSED.
        matched: (D, T) int32 row of the object a detection was given, -1 for none.
        iou: (D, T) float64 IoU with that object by the metric's rule, 0 for none.
        found_by: (M, T) int32 row of the detection an object was given, -1 for none; of several on
            one crowd region, the last.
        counts: (M,) bool, objects that the metric wants found: no crowd, and for VOC not difficult.
        order: (D,) int32 rows of detections by class and then by falling score, ties as the metric has them.
        starts: (K + 1,) int64 start of each class in `order`.
    """

    thresholds: NDArray[np.float64]
    state: NDArray[np.uint8]
    matched: NDArray[np.int32]
    iou: NDArray[np.float64]
    found_by: NDArray[np.int32]
    counts: NDArray[np.bool_]
    order: NDArray[np.int32]
    starts: NDArray[np.int64]

    def at(self, iou: float) -> int:
        """Return the column of a threshold.

        Example:
            >>> no_matches(np.array([0.5, 0.75]), np.ones(1, bool), np.arange(1), np.array([0, 1])).at(0.75)
            1
        """
        return int(np.argmin(np.abs(self.thresholds - iou)))

    def rows_of(self, label: int, column: int) -> NDArray[np.int32]:
        """Return the rows of one class's detections that were used, by falling score.

        Args:
            label: the class.
            column: the threshold.
        """
        rows = self.order[self.starts[label] : self.starts[label + 1]]
        used: NDArray[np.int32] = rows[self.state[rows, column] != UNUSED]
        return used

    def of(self, kept: NDArray[np.bool_]) -> MatchRecords:
        """Return the records of some detections: of each class those with the highest scores.

        They are what matching these detections alone gives, because detections are matched class by class
        and by falling score.

        Args:
            kept: (D,) True for the detections that stay.
        """
        rows, ordered = np.append(np.where(kept, np.cumsum(kept) - 1, -1), -1), kept[self.order]
        return MatchRecords(
            thresholds=self.thresholds,
            state=self.state[kept],
            matched=self.matched[kept],
            iou=self.iou[kept],
            found_by=rows[self.found_by].astype(np.int32),
            counts=self.counts,
            order=rows[self.order[ordered]].astype(np.int32),
            starts=np.append(0, np.cumsum(ordered))[self.starts],
        )


def no_matches(
    thresholds: NDArray[np.float64],
    counts: NDArray[np.bool_],
    order: NDArray[np.int32],
    starts: NDArray[np.int64],
) -> MatchRecords:
    """Return records in which every detection is unused and no object is found.

    Args:
        thresholds: (T,) IoU.
        counts: (M,) objects that count.
        order: (D,) rows by class, to be put into order of score.
        starts: (K + 1,) start of each class in `order`.

    Example:
        >>> no_matches(np.array([0.5]), np.ones(3, bool), np.arange(2), np.array([0, 2])).found_by.shape
        (3, 1)
    """
    shape = len(order), len(thresholds)
    return MatchRecords(
        thresholds=thresholds,
        state=np.full(shape, UNUSED, np.uint8),
        matched=np.full(shape, -1, np.int32),
        iou=np.zeros(shape, np.float64),
        found_by=np.full((len(counts), len(thresholds)), -1, np.int32),
        counts=counts,
        order=order,
        starts=starts,
    )


def matches_of_classes(
    truth: AnnotationSet,
    detections: DetectionSet,
    boxes: NDArray[np.float64],
    object_boxes: NDArray[np.float64],
    least: NDArray[np.float64],
    iou: float,
    match: Callable[..., None],
) -> MatchRecords:
    """Return what became of each detection and object where each class is matched by itself.

    Difficult objects and crowds do not count. Detections come by falling score, ties in their own order.

    Args:
        truth: N images and their M objects.
        detections: D detections.
        boxes: (D, 4), in the convention of `match`.
        object_boxes: (M, 4) likewise.
        least: (M,) IoU from which each object is found.
        iou: the threshold that the records are of.
        match: a compiled rule; it fills the states of one class's detections. It is given their rows, the
            images and boxes of all detections, the rows of the class's objects by image, the images and boxes
            of all objects, which of these do not count, `least`, N, and the columns of the records: state,
            matched, iou and found_by.
    """
    ignore = truth.difficult | truth.crowd
    images, object_images = np.ascontiguousarray(detections.images, np.int64), truth.image_index()
    rows, starts = by_class(detections.labels, len(truth.classes))
    object_rows, object_starts = by_class(truth.labels, len(truth.classes))
    kept = no_matches(np.array([iou]), ~ignore, rows, starts)
    keys = falling_keys(np.ascontiguousarray(detections.scores, np.float64))
    for k in range(len(truth.classes)):
        ordered = rows[starts[k] : starts[k + 1]]
        ordered[:] = sort_by_score(keys, ordered)
        match(
            ordered, images, boxes,
            object_rows[object_starts[k] : object_starts[k + 1]], object_images, object_boxes, ignore, least,
            truth.num_images,
            kept.state[:, 0], kept.matched[:, 0], kept.iou[:, 0], kept.found_by[:, 0],
        )  # fmt: skip
    return kept


def check_pair(truth: AnnotationSet, detections: DetectionSet) -> None:
    """Refuse detections that cannot belong to these annotations.

    Raises:
        UserError: the box conventions differ, or an image index, class index, score or box is
            outside what the annotations allow.
    """
    if truth.box_format != detections.box_format:
        raise UserError(
            f"detections hold {detections.box_format!r} boxes and annotations {truth.box_format!r}; "
            "convert the detections with detkit.annotations.coordinates"
        )
    for name, index, size in (
        ("image", detections.images, truth.num_images),
        ("label", detections.labels, len(truth.classes)),
    ):
        if len(index) and not (index.min() >= 0 and index.max() < size):
            row = int(np.argmax((index < 0) | (index >= size)))
            raise UserError(f"detection {row}: {name} must be in [0, {size}), got {index[row]}")
    for name, values in (("score", detections.scores), ("box", detections.boxes)):
        if not np.isfinite(values).all():
            row = int(np.argwhere(~np.isfinite(values))[0, 0])
            raise UserError(f"detection {row}: {name} must be finite, got {values[row]}")
