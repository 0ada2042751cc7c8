"""COCO's precision at 101 recalls from the match bits of one class, compiled."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from detkit.evaluation.metrics.coco_matching import EPSILON, NONE, NUM_AREAS, NUM_IOUS, ONE, MatchBits
from detkit.runtime.compiled import compiled

COMBINATIONS = NUM_AREAS * NUM_IOUS


def bit_places() -> tuple[np.uint64, NDArray[np.uint8]]:
    """Return a multiplier that gives each single-bit word its own top six bits, and the bit by those six."""
    multiplier = 0x03F79D71B4CB0A89  # a de Bruijn sequence: its 64 windows of six bits all differ
    places = np.zeros(64, np.uint8)
    for place in range(64):
        places[(multiplier << place) % (1 << 64) >> 58] = place
    return np.uint64(multiplier), places


MULTIPLIER, PLACES = bit_places()


class Curves(NamedTuple):
    """One class's part of the result, for one limit of detections; rows are the 40 combinations.

    Attributes:
        precision: (40, R).
        recall: (40,).
        scores: (40, R).
    """

    precision: NDArray[np.float64]
    recall: NDArray[np.float64]
    scores: NDArray[np.float64]


class Events(NamedTuple):
    """The detections that met an object in some combination, by falling score.

    Attributes:
        scores: (n,).
        inside: (n,) sizes whose range holds the detection.
        true: (n,) combinations in which it is a true positive.
        ignored: (n,) combinations in which it fell to an ignored object.
        before: (n, 4) detections inside each size range, down to this one.
        size: how many rows are filled.
    """

    scores: NDArray[np.float64]
    inside: NDArray[np.uint64]
    true: NDArray[np.uint64]
    ignored: NDArray[np.uint64]
    before: NDArray[np.int32]
    size: int


@compiled
def lowest(word: np.uint64) -> int:
    """Return the place of the lowest bit set."""
    place: int = PLACES[((word & (~word + ONE)) * MULTIPLIER) >> np.uint64(58)]
    return place


@compiled
def events_within(bits: MatchBits, limit: int) -> Events:
    """Pick the events among the detections within `limit` of their image."""
    count = 0
    for i in range(len(bits.scores)):
        count += (bits.true[i] | bits.ignored[i]) != NONE and bits.rank[i] < limit
    scores, before = np.empty(count), np.empty((count, NUM_AREAS), np.int32)
    inside, true, ignored = np.empty((3, count), np.uint64)
    at, seen = 0, np.zeros(NUM_AREAS, np.int32)
    for i in range(len(bits.scores)):
        if bits.rank[i] >= limit:
            continue
        for a in range(NUM_AREAS):
            seen[a] += bits.inside[i] >> np.uint64(a * NUM_IOUS) & ONE
        if bits.true[i] | bits.ignored[i] != NONE:
            scores[at], inside[at], true[at] = bits.scores[i], bits.inside[i], bits.true[i]
            ignored[at], before[at] = bits.ignored[i], seen
            at += 1
    return Events(scores, inside, true, ignored, before, count)


@compiled
def count_events(events: Events) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Count over all events.

    Returns:
        (40,) true positives; (40,) what must be added to the detections inside a size range for the
        number that is not ignored.
    """
    hits, extra = np.zeros(COMBINATIONS, np.int64), np.zeros(COMBINATIONS, np.int64)
    for i in range(events.size):
        rest = events.true[i]
        while rest != NONE:
            b = lowest(rest)
            hits[b] += 1
            extra[b] += events.inside[i] >> np.uint64(b) & ONE == NONE
            rest &= rest - ONE
        rest = events.ignored[i] & events.inside[i]
        while rest != NONE:
            extra[lowest(rest)] -= 1
            rest &= rest - ONE
    return hits, extra


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
def begin(
    hits: NDArray[np.int64], num_objects: NDArray[np.int64], needed: NDArray[np.int64], to: Curves
) -> NDArray[np.int64]:
    """Write the recall, clear the curves and return the (40,) highest recall each combination reaches."""
    last = np.full(COMBINATIONS, -1)
    for b in range(COMBINATIONS):
        a = b // NUM_IOUS
        if num_objects[a]:
            to.precision[b], to.scores[b] = 0.0, 0.0
            to.recall[b] = hits[b] / num_objects[a]
            last[b] = np.searchsorted(needed[a], hits[b], "right") - 1
    return last


@compiled
def curves_of_class(
    bits: MatchBits, num_objects: NDArray[np.int64], limit: int, recalls: NDArray[np.float64], to: Curves
) -> None:
    """Fill the curves of one class, counting the detections within `limit` of their image.

    Sizes without objects keep what they hold. Events are walked from the lowest score up: precision only
    peaks at true positives, so the running maximum there is the envelope, and each recall is read off at
    the hit that first reaches it. Recall 0 alone is reached by the first detection, whatever it is.
    """
    events = events_within(bits, limit)
    hits, extra = count_events(events)
    needed = np.zeros((NUM_AREAS, len(recalls)), np.int64)
    for a in range(NUM_AREAS):
        if num_objects[a]:
            needed[a] = needed_hits(num_objects[a], recalls)
    last = begin(hits, num_objects, needed, to)
    peak = np.zeros(COMBINATIONS)
    for i in range(events.size - 1, -1, -1):
        rest = events.true[i]
        while rest != NONE:
            b = lowest(rest)
            a = b // NUM_IOUS
            peak[b] = max(peak[b], hits[b] / (events.before[i, a] + extra[b] + EPSILON))
            while last[b] >= 0 and needed[a, last[b]] == hits[b]:
                to.precision[b, last[b]], to.scores[b, last[b]] = peak[b], events.scores[i]
                last[b] -= 1
            hits[b] -= 1
            extra[b] -= events.inside[i] >> np.uint64(b) & ONE == NONE
            rest &= rest - ONE
        rest = events.ignored[i] & events.inside[i]
        while rest != NONE:
            extra[lowest(rest)] += 1
            rest &= rest - ONE
    for b in range(COMBINATIONS):
        if last[b] >= 0 and len(bits.scores):
            to.precision[b, : last[b] + 1], to.scores[b, : last[b] + 1] = peak[b], bits.scores[0]
