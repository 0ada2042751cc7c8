"""The operating point: what a user of the detector sees from the chosen score thresholds on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detkit.annotations.dataset import AnnotationSet, DetectionSet
from detkit.evaluation.analysis.confusion import confusion_matrix
from detkit.evaluation.analysis.errors import Errors, find_errors
from detkit.evaluation.analysis.thresholds import Operating
from detkit.evaluation.metrics.matching import MatchRecords
from detkit.inference.score_floor import FIXED_SCORE
from detkit.report.content import Number


@dataclass(frozen=True)
class OperatingPoint:
    """The detections that the thresholds of best F1 leave, as `detkit predict` reports them.

    Every count of a report is made here, so that its figures, tables and pictures agree.

    Attributes:
        thresholds: (K,) lowest score of each class.
        found: the detections from there on.
        records: what became of them at IoU 0.5 and above.
        confusion: (K + 1, K + 1) objects by true class and found class, the last for background.
        errors: their kinds of error at IoU 0.5.
        quiet: (M,) whether an object is missed because the detection on it has a score below the threshold.
    """

    thresholds: NDArray[np.float64]
    found: DetectionSet
    records: MatchRecords
    confusion: NDArray[np.int64]
    errors: Errors
    quiet: NDArray[np.bool_]

    @property
    def false(self) -> NDArray[np.int64]:
        """(K,) false detections of each class."""
        return np.asarray(self.confusion.sum(axis=0)[:-1] - self.right)

    @property
    def missed(self) -> NDArray[np.int64]:
        """(K,) objects of each class that were not found."""
        return np.asarray(self.confusion.sum(axis=1)[:-1] - self.right)

    @property
    def right(self) -> NDArray[np.int64]:
        """(K,) objects of each class that were found."""
        return np.diagonal(self.confusion)[:-1].copy()

    def numbers(self, lowest: float) -> tuple[Number, ...]:
        """Return recall, precision and the thresholds for the top of a page.

        Args:
            lowest: the lowest score of all detections.
        """
        right, false, missed = (int(counts.sum()) for counts in (self.right, self.false, self.missed))
        recall, precision = (right / (right + other) if right + other else None for other in (missed, false))
        return (
            Number("recall", recall, f"{right:,} of {right + missed:,} objects found"),
            Number("precision", precision, f"{false:,} of {right + false:,} detections false"),
            Number("from score", span(self.thresholds), f"of best F1, by class; all: from {lowest:.2f}"),
        )


def operating_point(
    truth: AnnotationSet, found: DetectionSet, records: MatchRecords, best_f1: Operating
) -> OperatingPoint:
    """Return the operating point of best F1; a class of which nothing was found has the score 0.5.

    Args:
        truth: N images and their objects of K classes.
        found: all detections.
        records: what became of them.
        best_f1: the thresholds of best F1.
    """
    thresholds = np.where(np.isnan(best_f1.threshold), FIXED_SCORE, best_f1.threshold)
    kept = found.scores >= thresholds[found.labels]
    some, of_some = found.of(kept), records.of(kept)
    by_any, seen = (given.found_by[:, given.at(0.5)] >= 0 for given in (records, of_some))
    return OperatingPoint(
        thresholds,
        some,
        of_some,
        confusion_matrix(truth, some, of_some, min_score=-np.inf),
        find_errors(truth, some, of_some),
        by_any & ~seen & records.counts,
    )


def span(scores: NDArray[np.float64]) -> str:
    """Return the lowest and the highest score as text.

    Example:
        >>> span(np.array([0.5, 0.25])), span(np.array([0.5, 0.5]))
        ('0.25–0.50', '0.50')
    """
    return "–".join(dict.fromkeys(f"{score:.2f}" for score in (scores.min(), scores.max())))
