"""Error types of detections (TIDE), and the AP that each costs."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from detkit.annotations.dataset import AnnotationSet, DetectionSet
from detkit.evaluation.metrics.curves import curve, interpolated_ap, mean_known
from detkit.evaluation.metrics.matching import FALSE_POSITIVE, IGNORED, TRUE_POSITIVE, UNUSED, MatchRecords
from detkit.evaluation.metrics.overlaps import Nearest, nearest_objects

DETECTION_ERRORS = ("classification", "localisation", "both", "duplicate", "background")
CLASSIFICATION, LOCALISATION, BOTH, DUPLICATE, BACKGROUND = range(5)
NO_ERROR = -1


@dataclass(frozen=True)
class Errors:
    """The kind of every error at one IoU threshold, and what each kind costs.

    Attributes:
        kind: (D,) int8 index into DETECTION_ERRORS, NO_ERROR for a detection that is none.
        missed: (M,) bool, objects that no detection came near enough to: neither found nor the object
            of a classification or localisation error.
        counts: number of errors by kind, those of DETECTION_ERRORS and "missed".
        ap: mean AP at the threshold (101 recalls) as things stand.
        cost: by kind, what the mean AP would gain if every error of that kind alone were mended.
            "false_positives" and "false_negatives" are all errors of either sort together.
    """

    kind: NDArray[np.int8]
    missed: NDArray[np.bool_]
    counts: dict[str, int]
    ap: float
    cost: dict[str, float]


@dataclass(frozen=True)
class _Outcome:
    """One state of things that has an AP.

    Ties in score go by `order`. `num_objects` are those to find by class, and `existing` the classes
    that have any at all.
    """

    scores: NDArray[np.float64]
    order: NDArray[np.int32]
    labels: NDArray[np.int32]
    states: NDArray[np.uint8]
    num_objects: NDArray[np.int64]
    existing: NDArray[np.bool_]


def find_errors(
    truth: AnnotationSet,
    detections: DetectionSet,
    records: MatchRecords,
    iou: float = 0.5,
    background_iou: float = 0.1,
) -> Errors:
    """Sort errors into kinds and tell what each kind costs, after Bolya et al., "TIDE", ECCV 2020.

    A false positive is, by the first of these that holds: localisation (IoU with an object of its class
    from `background_iou` up to `iou`), classification (at least `iou` with one of another class),
    duplicate (at least `iou` with one of its class), background (below `background_iou` with all), both.
    Fixes moves a misplaced or misnamed detection onto its object, of several on one object keeping the
    highest score; it removes the other kinds, and takes missed objects out of the count. A class whose
    objects all were missed then has an AP of 1.

    Args:
        truth: N images and their M objects.
        detections: D detections.
        records: what became of them by a metric.
        iou: the threshold to look at.
        background_iou: IoU below which a detection has nothing to do with an object.

    Example:
        >>> from detkit.evaluation.example import two_images_matched
        >>> errors = find_errors(*two_images_matched())
        >>> errors.counts["background"], errors.counts["missed"]
        (2, 1)
    """
    column = records.at(iou)
    states, matched = records.state[:, column], records.matched[:, column]
    near = nearest_objects(truth, detections, records.counts)
    kind = _kinds(states, near, iou, background_iou)
    onto = {CLASSIFICATION: near.other, LOCALISATION: near.same}
    reached = np.zeros(truth.num_objects, np.bool_)
    for k, objects in onto.items():
        reached[objects[kind == k]] = True
    unfound = records.counts.copy()
    unfound[matched[states == TRUE_POSITIVE]] = False
    missed = unfound & ~reached
    num_objects = np.bincount(truth.labels[records.counts], minlength=len(truth.classes))
    now = _Outcome(detections.scores, records.order, detections.labels, states, num_objects, num_objects > 0)
    ap = _mean_ap(now)
    mended = {name: _removed(now, kind == k) for k, name in enumerate(DETECTION_ERRORS)}
    for k, objects in onto.items():
        mended[DETECTION_ERRORS[k]] = _moved(now, kind == k, objects, matched, truth.labels)
    mended["missed"] = _without(now, truth.labels[missed])
    mended["false_positives"] = _removed(now, states == FALSE_POSITIVE)
    mended["false_negatives"] = _without(now, truth.labels[unfound])
    counts = {name: int((kind == k).sum()) for k, name in enumerate(DETECTION_ERRORS)}
    counts["missed"] = int(missed.sum())
    cost = {name: _mean_ap(outcome) - ap for name, outcome in mended.items()}
    return Errors(kind, missed, counts, ap, cost)


def _kinds(states: NDArray[np.uint8], near: Nearest, iou: float, background_iou: float) -> NDArray[np.int8]:
    kind = np.select(
        [
            (near.same_iou >= background_iou) & (near.same_iou < iou),
            near.other_iou >= iou,
            near.same_iou >= iou,
            near.any_iou < background_iou,
        ],
        [LOCALISATION, CLASSIFICATION, DUPLICATE, BACKGROUND],
        BOTH,
    )
    return np.where(states == FALSE_POSITIVE, kind, NO_ERROR).astype(np.int8)


def _without(now: _Outcome, labels: NDArray[np.int32]) -> _Outcome:
    taken = np.bincount(labels, minlength=len(now.num_objects))
    return replace(now, num_objects=now.num_objects - taken)


def _removed(now: _Outcome, wrong: NDArray[np.bool_]) -> _Outcome:
    return replace(now, states=np.where(wrong, UNUSED, now.states).astype(np.uint8))


def _moved(
    now: _Outcome,
    wrong: NDArray[np.bool_],
    onto: NDArray[np.int32],
    matched: NDArray[np.int32],
    object_labels: NDArray[np.int32],
) -> _Outcome:
    """Return how things would stand with wrong detections on their objects, the highest score on each."""
    objects, labels, states = np.where(wrong, onto, matched), now.labels.copy(), now.states.copy()
    labels[wrong] = object_labels[onto[wrong]]
    states[wrong] = TRUE_POSITIVE
    rows = np.flatnonzero(states == TRUE_POSITIVE)
    rows = rows[np.argsort(-now.scores[rows], kind="stable")]
    first = np.unique(objects[rows], return_index=True)[1]
    states[rows] = UNUSED
    states[rows[first]] = TRUE_POSITIVE
    return replace(now, labels=labels, states=states)


def _mean_ap(outcome: _Outcome) -> float:
    """Return the mean over classes of the AP at one threshold."""
    rows = outcome.order[~np.isin(outcome.states[outcome.order], (UNUSED, IGNORED))]
    rows = rows[np.lexsort((-outcome.scores[rows], outcome.labels[rows]))]
    starts = np.searchsorted(outcome.labels[rows], np.arange(len(outcome.num_objects) + 1))
    ap = np.where(outcome.existing, 1.0, np.nan)
    for k in np.flatnonzero(outcome.num_objects):
        block = rows[starts[k] : starts[k + 1]]
        of_class = curve(outcome.states[block], outcome.scores[block], int(outcome.num_objects[k]))
        ap[k] = interpolated_ap(of_class.recall, of_class.precision)
    return mean_known(ap)
