"""COCO's precision at 101 recalls from the matching of one class, compiled."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from detkit.evaluation.coco_class import EPSILON, NONE, NUM_AREAS, NUM_IOUS, ONE, Words
from detkit.evaluation.compiled import compiled

COMBINATIONS = NUM_AREAS * NUM_IOUS


class Curves(NamedTuple):
    """One class's part of the result, for one limit of detections.

    Attributes:
        precision: (T, R, A).
        recall: (T, A).
        scores: (T, R, A).
    """

    precision: NDArray[np.float64]
    recall: NDArray[np.float64]
    scores: NDArray[np.float64]


class Counts(NamedTuple):
    """Counts over the detections from the highest score down to some place.

    Attributes:
        inside: (4,) detections inside each size range.
        extra: (40,) what must be added to that for the number that is not ignored.
        hits: (40,) true positives.
    """

    inside: NDArray[np.int64]
    extra: NDArray[np.int64]
    hits: NDArray[np.int64]


@compiled
def needed_hits(num_objects: int, recalls: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return for each recall the fewest hits among `num_objects` that reach it."""
    needed = np.empty(len(recalls), np.int64)
    hits = 0
    for i in range(len(recalls)):
        while hits <= num_objects and hits / num_objects < recalls[i]:
            hits += 1
        needed[i] = hits
    return needed


@compiled
def add(counts: Counts, inside: np.uint64, true: np.uint64, spared: np.uint64, step: int) -> None:
    """Count a detection in (step 1) or out again (step -1)."""
    for a in range(NUM_AREAS):
        counts.inside[a] += step * np.int64(inside >> np.uint64(a * NUM_IOUS) & ONE)
    if true | spared == NONE:
        return
    for b in range(COMBINATIONS):
        bit = np.uint64(b)
        if true >> bit & ONE:
            counts.hits[b] += step
            counts.extra[b] += step * np.int64(not inside >> bit & ONE)
        elif spared >> bit & inside >> bit & ONE:
            counts.extra[b] -= step


@compiled
def read_off(
    b: int,
    peak: float,
    score: float,
    fewest: int,
    needed: NDArray[np.int64],
    last: NDArray[np.int64],
    to: Curves,
) -> None:
    """Write the recalls, from the highest unwritten one down, that need at least `fewest` hits."""
    a, t = b // NUM_IOUS, b % NUM_IOUS
    while last[b] >= 0 and needed[last[b]] >= fewest:
        to.precision[t, last[b], a], to.scores[t, last[b], a] = peak, score
        last[b] -= 1


@compiled
def read_hits(
    true: np.uint64,
    score: float,
    counts: Counts,
    peak: NDArray[np.float64],
    needed: NDArray[np.int64],
    last: NDArray[np.int64],
    to: Curves,
) -> None:
    """Raise the envelope at a true positive and write the recalls that it is the first to reach."""
    for b in range(COMBINATIONS):
        if true >> np.uint64(b) & ONE:
            hits, a = counts.hits[b], b // NUM_IOUS
            peak[b] = max(peak[b], hits / (counts.inside[a] + counts.extra[b] + EPSILON))
            read_off(b, peak[b], score, hits, needed[a], last, to)


@compiled
def begin(
    counts: Counts, num_objects: NDArray[np.int64], needed: NDArray[np.int64], to: Curves
) -> NDArray[np.int64]:
    """Write the recall, clear the curves and return the (40,) highest recall each combination reaches."""
    last = np.full(COMBINATIONS, -1)
    for b in range(COMBINATIONS):
        a, t = b // NUM_IOUS, b % NUM_IOUS
        if num_objects[a]:
            to.precision[t, :, a], to.scores[t, :, a] = 0.0, 0.0
            to.recall[t, a] = counts.hits[b] / num_objects[a]
            last[b] = np.searchsorted(needed[a], counts.hits[b], "right") - 1
    return last


@compiled
def curves_of_class(
    words: Words, num_objects: NDArray[np.int64], limit: int, recalls: NDArray[np.float64], to: Curves
) -> None:
    """Fill the curves of one class, counting the detections within `limit` of their image.

    Sizes without objects keep what they hold. Detections are walked from the lowest score up: precision
    only peaks at true positives, so the running maximum there is the envelope, and each recall is read
    off at the hit that first reaches it.
    """
    counts = Counts(
        np.zeros(NUM_AREAS, np.int64), np.zeros(COMBINATIONS, np.int64), np.zeros(COMBINATIONS, np.int64)
    )
    for i in range(len(words.scores)):
        if words.rank[i] < limit:
            add(counts, words.inside[i], words.true[i], words.spared[i], 1)
    needed = np.zeros((NUM_AREAS, len(recalls)), np.int64)
    for a in range(NUM_AREAS):
        if num_objects[a]:
            needed[a] = needed_hits(num_objects[a], recalls)
    last = begin(counts, num_objects, needed, to)
    peak = np.zeros(COMBINATIONS)
    for i in range(len(words.scores) - 1, -1, -1):
        if words.rank[i] >= limit:
            continue
        if words.true[i] != NONE:
            read_hits(words.true[i], words.scores[i], counts, peak, needed, last, to)
        add(counts, words.inside[i], words.true[i], words.spared[i], -1)
    if len(words.scores):  # the first detection, whatever it is, reaches recall 0
        for b in range(COMBINATIONS):
            read_off(b, peak[b], words.scores[0], 0, needed[b // NUM_IOUS], last, to)
