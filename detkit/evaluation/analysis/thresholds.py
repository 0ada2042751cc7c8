"""Score thresholds of each class for a given precision, recall or the best F1."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detkit.annotations.dataset import AnnotationSet, DetectionSet
from detkit.evaluation.metrics.curves import Curve, curves_by_class
from detkit.evaluation.metrics.matching import MatchRecords


@dataclass(frozen=True)
class Operating:
    """One score threshold per class with what it gives; NaN where no threshold meets the demand.

    Attributes:
        threshold: (K,) float64, detections of at least this score are kept.
        precision: (K,) float64 of the kept detections.
        recall: (K,) float64.
        f1: (K,) float64 harmonic mean of both.
    """

    threshold: NDArray[np.float64]
    precision: NDArray[np.float64]
    recall: NDArray[np.float64]
    f1: NDArray[np.float64]


@dataclass(frozen=True)
class Thresholds:
    """Three ways to choose thresholds.

    Attributes:
        max_f1: where F1 is highest.
        at_precision: most recall among those with the precision asked for.
        at_recall: most precision among those with the recall asked for.
    """

    max_f1: Operating
    at_precision: Operating
    at_recall: Operating


def advise_thresholds(
    truth: AnnotationSet,
    detections: DetectionSet,
    records: MatchRecords,
    *,
    iou: float = 0.5,
    precision: float = 0.9,
    recall: float = 0.9,
) -> Thresholds:
    """Return score thresholds of each class for three aims; of equal ones, the higher threshold.

    Args:
        truth: N images and their objects of K classes.
        detections: detections with scores down to near zero: what is not there cannot be recommended.
        records: what became of them by a metric.
        iou: the IoU from which a detection is right.
        precision: the precision that `at_precision` keeps.
        recall: the recall that `at_recall` reaches.

    Example:
        >>> from detkit.evaluation.example import two_images_matched
        >>> advise_thresholds(*two_images_matched()).max_f1.threshold
        array([0.9, 0.7])
    """
    max_f1, at_precision, at_recall = [], [], []
    for of_class in curves_by_class(truth, detections, records, iou):
        cuts = _cuts(of_class)
        max_f1.append(_best(cuts, cuts[3], cuts[3] > 0))
        at_precision.append(_best(cuts, cuts[2], (cuts[1] >= precision) & (cuts[2] > 0)))
        at_recall.append(_best(cuts, cuts[1], (cuts[2] >= recall) & (cuts[2] > 0)))
    columns = [np.array(rows).reshape(-1, 4).T for rows in (max_f1, at_precision, at_recall)]
    return Thresholds(*(Operating(*of_aim) for of_aim in columns))


def _cuts(of_class: Curve) -> NDArray[np.float64]:
    """Return (4, n): threshold, precision, recall and F1 of each distinct score, falling."""
    # Detections of one score are kept or dropped together.
    last = np.diff(of_class.scores, append=-np.inf) != 0
    precision, recall = of_class.precision[last], of_class.recall[last]
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
    return np.stack([of_class.scores[last], precision, recall, f1])


def _best(
    cuts: NDArray[np.float64], aim: NDArray[np.float64], allowed: NDArray[np.bool_]
) -> NDArray[np.float64]:
    if not allowed.any():
        return np.full(4, np.nan)
    best: NDArray[np.float64] = cuts[:, np.argmax(np.where(allowed, aim, -np.inf))]
    return best
