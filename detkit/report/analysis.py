"""Error analysis of an evaluation, as content of a report."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from detkit.annotations.dataset import AnnotationSet, DetectionSet
from detkit.evaluation.analysis.breakdown import ap_by_crowding, ap_by_size
from detkit.evaluation.analysis.errors import find_errors
from detkit.evaluation.analysis.explain import explain_class, explain_zero
from detkit.evaluation.analysis.outcomes import OUTCOMES, object_outcomes
from detkit.evaluation.analysis.thresholds import Operating, Thresholds
from detkit.evaluation.metrics.curves import curves_by_class
from detkit.evaluation.metrics.matching import MatchRecords
from detkit.report.content import Bar, Cell, Curve, Plot, Table
from detkit.report.operating_point import OperatingPoint

MEANING = {
    "classification": "right place, wrong class",
    "localisation": "right class, poor box: IoU between 0.1 and 0.5",
    "both": "wrong class and poor box",
    "duplicate": "an object found a second time",
    "background": "nothing is there",
    "missed": "an object that no detection came near; one below the threshold counts as none",
}
SHOWN_AS = {"missed": "overlooked"}  # these are some of all objects missed
OUTCOME_MEANING = {
    "found": "found",
    "quiet": "missed: its detection has a score below the threshold",
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


def error_bars(
    truth: AnnotationSet, detections: DetectionSet, records: MatchRecords, point: OperatingPoint
) -> tuple[Bar, ...]:
    """Return the AP that each kind of error costs at IoU 0.5, and how many a user sees; none without AP."""
    errors, seen = find_errors(truth, detections, records), point.errors.counts
    if np.isnan(errors.ap):
        return ()
    return tuple(
        Bar(SHOWN_AS.get(kind, kind), errors.cost[kind], f"{errors.cost[kind]:.3f} ({seen[kind]:,})", meaning)
        for kind, meaning in MEANING.items()
    )


def outcome_table(truth: AnnotationSet, point: OperatingPoint) -> Table | None:
    """Return how many objects were found at IoU 0.5, and why the others were not; None without objects.

    Args:
        truth: N images and their objects.
        point: the detections that count.
    """
    if not truth.num_objects:
        return None
    became = np.array(OUTCOMES)[object_outcomes(truth, point.found, point.records)]
    counts = {outcome: int(((became == outcome) & ~point.quiet).sum()) for outcome in OUTCOMES}
    counts["quiet"] = int(point.quiet.sum())
    rows = [(text, counts[name], counts[name] / truth.num_objects) for name, text in OUTCOME_MEANING.items()]
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


def threshold_table(classes: tuple[str, ...], advice: Thresholds) -> Table:
    """Return the score thresholds of each class for three aims, with what each gives."""

    def cells(aim: Operating, k: int, *names: str) -> list[Cell]:
        return [float(getattr(aim, name)[k]) for name in names]

    rows = tuple(
        (
            name,
            *cells(advice.max_f1, k, "f1", "threshold", "precision", "recall"),
            *cells(advice.at_precision, k, "threshold", "recall"),
            *cells(advice.at_recall, k, "threshold", "precision"),
        )
        for k, name in enumerate(classes)
    )
    columns = (
        "class",
        "best F1",
        "from score",
        "precision",
        "recall",
        f"precision {GOAL}: from score",
        "its recall",
        f"recall {GOAL}: from score",
        "its precision",
    )
    return Table(columns, rows, colours=True)


def score_plots(
    truth: AnnotationSet, detections: DetectionSet, records: MatchRecords, best_f1: Operating
) -> tuple[Plot, ...]:
    """Return F1 and precision of each class at every threshold, with that of best F1 marked."""
    f1: list[Curve] = []
    precision: list[Curve] = []
    curves = curves_by_class(truth, detections, records)
    for k, (name, curve) in enumerate(zip(truth.classes, curves, strict=True)):
        rising = curve.scores[::-1]
        both = 2 * curve.precision * curve.recall / np.maximum(curve.precision + curve.recall, 1e-12)
        for shown, y, best in ((f1, both, best_f1.f1[k]), (precision, curve.precision, best_f1.precision[k])):
            chosen = None if np.isnan(best) else (float(best_f1.threshold[k]), float(best))
            shown.append(Curve(name, rising, y[::-1], float(best), chosen))
    return (
        Plot("F1 from each score on; the figures: the best", "score", tuple(f1), (0.0, 1.0)),
        Plot("Precision from each score on; the figures: at best F1", "score", tuple(precision), (0.0, 1.0)),
    )


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
