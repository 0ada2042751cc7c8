"""Precision-recall curve of a class, and its AP by VOC's two rules."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detkit.annotations.dataset import AnnotationSet, DetectionSet
from detkit.evaluation.metrics.matching import IGNORED, TRUE_POSITIVE, MatchRecords

# Multiples of 0.1 in floating point, as published numbers were computed: a recall of exactly 3/10, 6/10
# or 7/10 falls short of 0.30000000000000004, 0.6000000000000001 or 0.7000000000000001.
ELEVEN_RECALLS = np.arange(11, dtype=np.float64) * 0.1
HUNDRED_AND_ONE_RECALLS = np.linspace(0.0, 1.0, 101)


@dataclass(frozen=True)
class Curve:
    """Precision and recall of one class after each of its n detections, by falling score.

    Attributes:
        recall: (n,) float64; all 0 where the class has no objects that count.
        precision: (n,) float64, 0 before the first detection that counts.
        scores: (n,) float64.
    """

    recall: NDArray[np.float64]
    precision: NDArray[np.float64]
    scores: NDArray[np.float64]


def curve(states: NDArray[np.uint8], scores: NDArray[np.float64], num_objects: int) -> Curve:
    """Return precision and recall after each detection.

    Args:
        states: (n,) by falling score, as in `MatchRecords`.
        scores: (n,).
        num_objects: objects that count, the denominator of recall.

    Example:
        >>> curve(np.array([1, 0], np.uint8), np.array([0.9, 0.8]), 2).precision
        array([1. , 0.5])
    """
    true = np.cumsum(states == TRUE_POSITIVE, dtype=np.float64)
    counted = np.cumsum(states != IGNORED, dtype=np.float64)
    return Curve(true / max(num_objects, 1), true / np.maximum(counted, 1.0), scores)


def curves_by_class(
    truth: AnnotationSet, detections: DetectionSet, records: MatchRecords, iou: float = 0.5
) -> tuple[Curve, ...]:
    """Return the K curves behind a metric at one IoU threshold.

    Example:
        >>> from detkit.evaluation.example import two_images_matched
        >>> curves_by_class(*two_images_matched())[1].recall
        array([0. , 0.5, 0.5])
    """
    column = records.at(iou)
    num_objects = np.bincount(truth.labels[records.counts], minlength=len(truth.classes))
    rows = [records.rows_of(k, column) for k in range(len(truth.classes))]
    return tuple(
        curve(records.state[r, column], detections.scores[r], int(n))
        for r, n in zip(rows, num_objects, strict=True)
    )


def eleven_point_ap(recall: NDArray[np.float64], precision: NDArray[np.float64]) -> float:
    """Return VOC2007's AP: the mean of the highest precision at recalls of at least 0, 0.1, ... 1.

    Everingham et al., "The PASCAL Visual Object Classes (VOC) Challenge", IJCV 2010, section 4.2.

    Args:
        recall: (n,) rising.
        precision: (n,).

    Example:
        >>> round(eleven_point_ap(np.array([0.5, 1.0]), np.array([1.0, 0.5])), 4)
        0.7727
    """
    envelope = np.append(np.maximum.accumulate(precision[::-1])[::-1], 0.0)
    return float(envelope[np.searchsorted(recall, ELEVEN_RECALLS)].sum() / 11)


def area_ap(recall: NDArray[np.float64], precision: NDArray[np.float64]) -> float:
    """Return the AP of VOC2010 and later: the area under the precision made non-increasing in recall.

    Args:
        recall: (n,) rising.
        precision: (n,).

    Example:
        >>> area_ap(np.array([0.5, 1.0]), np.array([1.0, 0.5]))
        0.75
    """
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    return float((np.diff(recall, prepend=0.0) * envelope).sum())


def interpolated_ap(recall: NDArray[np.float64], precision: NDArray[np.float64]) -> float:
    """Return COCO's AP at one threshold: the mean of the highest precision from each of 101 recalls on.

    Args:
        recall: (n,) rising.
        precision: (n,).

    Example:
        >>> round(interpolated_ap(np.array([0.5, 1.0]), np.array([1.0, 0.5])), 4)
        0.7525
    """
    envelope = np.append(np.maximum.accumulate(precision[::-1])[::-1], 0.0)
    return float(envelope[np.searchsorted(recall, HUNDRED_AND_ONE_RECALLS)].mean())


def mean_known(values: NDArray[np.float64]) -> float:
    """Return the mean of the values that are not NaN, NaN if there are none.

    Example:
        >>> mean_known(np.array([0.5, np.nan, 1.0]))
        0.75
    """
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")
