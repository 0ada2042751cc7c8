"""What became of every detection and every object at each IoU threshold."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

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
    """

    thresholds: NDArray[np.float64]
    state: NDArray[np.uint8]
    matched: NDArray[np.int32]
    iou: NDArray[np.float64]
    found_by: NDArray[np.int32]

    def at(self, iou: float) -> int:
        """Return the column of a threshold.

        Example:
            >>> empty_records(0, 0, np.array([0.5, 0.75])).at(0.75)
            1
        """
        return int(np.argmin(np.abs(self.thresholds - iou)))


def empty_records(num_detections: int, num_objects: int, thresholds: NDArray[np.float64]) -> MatchRecords:
    """Return records in which every detection is unused and no object is found.

    Example:
        >>> empty_records(2, 3, np.array([0.5])).found_by.shape
        (3, 1)
    """
    columns = len(thresholds)
    return MatchRecords(
        thresholds=thresholds,
        state=np.full((num_detections, columns), UNUSED, np.uint8),
        matched=np.full((num_detections, columns), -1, np.int32),
        iou=np.zeros((num_detections, columns), np.float64),
        found_by=np.full((num_objects, columns), -1, np.int32),
    )
