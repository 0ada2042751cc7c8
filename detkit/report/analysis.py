"""Error analysis of an evaluation, as content of a report."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from detkit.annotations.dataset import AnnotationSet, DetectionSet
from detkit.evaluation.analysis.breakdown import ap_by_crowding, ap_by_size
from detkit.evaluation.analysis.confusion import confusion_matrix
from detkit.evaluation.analysis.errors import find_errors
from detkit.evaluation.analysis.explain import explain_class, explain_zero
from detkit.evaluation.analysis.outcomes import OUTCOMES, object_outcomes
from detkit.evaluation.analysis.thresholds import Operating, advise_thresholds
from detkit.evaluation.metrics.matching import MatchRecords
from detkit.report.content import Bar, Cell, ConfusionMatrix, Table

MEANING = {
    "classification": "right place, wrong class",
    "localisation": "right class, poor box: IoU between 0.1 and 0.5",
    "both": "wrong class and poor box",
    "duplicate": "an object found a second time",
    "background": "nothing is there",
    "missed": "an object that nothing came near",
}
OUTCOME_MEANING = {
    "found": "found",
    "ignored": "not counted: difficult, or a crowd",
    "shared": "missed: the detection on it went to a neighbour",
    "over_limit": "missed: its detection came after the most that count in an image",
    "misnamed": "missed: classified as another class",
    "misplaced": "missed: a poor box, IoU below 0.5",
    "unseen": "missed: nothing came near",
}
GROUPS = {
    "small": "small: below 32 x 32 pixels",
    "medium": "medium",
    "large": "large: from 96 x 96 pixels on",
    "alone": "alone: no other object's box touches theirs",
    "touching": "touching another: an IoU of up to 0.2",
    "crowded": "crowded: an IoU above 0.2 with another",
}
GROUP_AP = "AP at IoU 0.5"
GOAL = 0.9
NUM_CAUSES = 3


def error_bars(truth: AnnotationSet, detections: DetectionSet, records: MatchRecords) -> tuple[Bar, ...]:
    """Return the AP that each kind of error costs at IoU 0.5 and how often it happens; none without AP."""
    errors = find_errors(truth, detections, records)
    if np.isnan(errors.ap):
        return ()
    return tuple(
        Bar(kind, errors.cost[kind], f"{errors.cost[kind]:.3f} ({errors.counts[kind]:,})", meaning)
        for kind, meaning in MEANING.items()
    )


def outcome_table(truth: AnnotationSet, detections: DetectionSet, records: MatchRecords) -> Table | None:
    """Return how many objects were found at IoU 0.5, and why the others were not; None without objects."""
    if not truth.num_objects:
        return None
    counts = np.bincount(object_outcomes(truth, detections, records), minlength=len(OUTCOMES))
    rows = [
        (OUTCOME_MEANING[outcome], int(n), n / truth.num_objects)
        for outcome, n in zip(OUTCOMES, counts, strict=True)
    ]
    return Table(("labelled objects", "objects", "share"), tuple(row for row in rows if row[1]), ("share",))


def group_table(truth: AnnotationSet, detections: DetectionSet, records: MatchRecords) -> Table | None:
    """Return the AP of objects by size and by crowding, the mean over classes; None without objects."""
    if not truth.num_objects:
        return None
    rows: list[tuple[Cell, ...]] = []
    for breakdown in (ap_by_size(truth, detections, records), ap_by_crowding(truth, detections, records)):
        counts = breakdown.num_objects.sum(axis=0)
        for g, name in enumerate(breakdown.groups):
            known = breakdown.ap[~np.isnan(breakdown.ap[:, g]), g]
            rows.append((GROUPS[name], int(counts[g]), float(known.mean()) if len(known) else None))
    return Table(("objects that are", "objects", GROUP_AP), tuple(rows), (GROUP_AP,))


def threshold_table(truth: AnnotationSet, detections: DetectionSet, records: MatchRecords) -> Table:
    """Return the score thresholds of each class for three aims, with what each gives."""
    advice = advise_thresholds(truth, detections, records, precision=GOAL, recall=GOAL)

    def cells(aim: Operating, k: int, *others: str) -> list[Cell]:
        return [float(getattr(aim, name)[k]) for name in ("threshold", *others)]

    rows = tuple(
        (
            name,
            *cells(advice.max_f1, k, "precision", "recall"),
            *cells(advice.at_precision, k, "recall"),
            *cells(advice.at_recall, k, "precision"),
        )
        for k, name in enumerate(truth.classes)
    )
    columns = (
        "class",
        "best F1 at",
        "precision",
        "recall",
        f"precision {GOAL} at",
        "recall",
        f"recall {GOAL} at",
        "precision",
    )
    return Table(columns, rows, colours=True)


def class_confusion(
    truth: AnnotationSet, detections: DetectionSet, records: MatchRecords, min_score: float = 0.5
) -> ConfusionMatrix:
    """Return which classes are classified as which by detections of at least a score."""
    counts = confusion_matrix(truth, detections, records, min_score=min_score)
    note = f"Detections with a score of at least {min_score:g}, at IoU 0.5. Shades are shares of a row."
    return ConfusionMatrix((*truth.classes, "background"), counts, note)


def zero_notes(
    truth: AnnotationSet, detections: DetectionSet, value: float, per_class: NDArray[np.float64]
) -> tuple[str, ...]:
    """Return why the deciding number is zero or missing, the likeliest cause first, or else why some AP is.

    Args:
        truth: N images and their objects of K classes.
        detections: the detections.
        value: the number over all classes; NaN where there is none.
        per_class: (K,) AP of each class; zeros are explained before what is missing.
    """
    if not value > 0:
        return tuple(cause.message for cause in explain_zero(truth, detections)[:NUM_CAUSES])
    unknown = np.isnan(per_class)
    labels = [*np.flatnonzero(per_class == 0).tolist(), *np.flatnonzero(unknown).tolist()]
    notes = [
        f"{truth.classes[k]}: AP {'n/a' if unknown[k] else 0}: {explain_class(truth, detections, k).message}"
        for k in labels[:NUM_CAUSES]
    ]
    more = labels[NUM_CAUSES:]
    if more:
        notes.append(f"AP is 0 or n/a for {len(more)} more: {', '.join(truth.classes[k] for k in more)}")
    return tuple(notes)
