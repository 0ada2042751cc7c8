"""COCO's matching and precision of one class, compiled.

The four object sizes and ten IoU thresholds are matched at once: each of the 40 combinations is one
bit of a word, and a detection or object carries a word for every yes-or-no it needs.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from detkit.evaluation.compiled import compiled
from detkit.evaluation.matching import FALSE_POSITIVE, IGNORED, TRUE_POSITIVE

NUM_AREAS, NUM_IOUS = 4, 10
ALL = np.uint64((1 << NUM_AREAS * NUM_IOUS) - 1)
PER_AREA = np.uint64((1 << NUM_IOUS) - 1)  # the ten bits of one object size; "all" sizes hold the lowest ten
ONE, NONE = np.uint64(1), np.uint64(0)
EPSILON = np.spacing(1.0)


class Truth(NamedTuple):
    """The objects, as the compiled loops want them."""

    images: NDArray[np.int64]
    boxes: NDArray[np.float64]
    crowd: NDArray[np.bool_]
    zero_id: NDArray[np.bool_]
    counts: NDArray[np.uint64]


class Found(NamedTuple):
    """The detections, as the compiled loops want them."""

    images: NDArray[np.int64]
    boxes: NDArray[np.float64]
    scores: NDArray[np.float64]


class Recorded(NamedTuple):
    """Columns of `MatchRecords` to fill; empty arrays where nobody asked."""

    state: NDArray[np.uint8]
    matched: NDArray[np.int32]
    iou: NDArray[np.float64]
    found_by: NDArray[np.int32]


class Words(NamedTuple):
    """One class's detections that are within the limit, by falling score.

    Attributes:
        scores: (n,).
        rank: (n,) place within its image.
        inside: (n,) sizes whose range holds the detection's own area.
        true: (n,) combinations in which it is a true positive.
        spared: (n,) combinations in which it fell to an ignored object.
    """

    scores: NDArray[np.float64]
    rank: NDArray[np.int32]
    inside: NDArray[np.uint64]
    true: NDArray[np.uint64]
    spared: NDArray[np.uint64]


@compiled
def area_bits(area: float, ranges: NDArray[np.float64]) -> np.uint64:
    """Return the combinations whose size range, ends included, holds `area`."""
    word = NONE
    for a in range(NUM_AREAS):
        if not (area < ranges[a, 0] or area > ranges[a, 1]):
            word |= PER_AREA << np.uint64(a * NUM_IOUS)
    return word


@compiled
def counting_objects(
    areas: NDArray[np.float64], crowd: NDArray[np.bool_], ranges: NDArray[np.float64]
) -> NDArray[np.uint64]:
    """Return for each object the combinations in which it counts (in its size range, no crowd)."""
    words = np.zeros(len(areas), np.uint64)
    for i in range(len(areas)):
        if not crowd[i]:
            words[i] = area_bits(areas[i], ranges)
    return words


@compiled
def xywh_iou(a: NDArray[np.float64], b: NDArray[np.float64], crowd: bool) -> float:
    """IoU of a detection with an object; with a crowd region, the part of the detection inside it."""
    width = min(a[2] + a[0], b[2] + b[0]) - max(a[0], b[0])
    if width <= 0:
        return 0.0
    height = min(a[3] + a[1], b[3] + b[1]) - max(a[1], b[1])
    if height <= 0:
        return 0.0
    shared = width * height
    area = a[2] * a[3]
    union = area if crowd else area + b[2] * b[3] - shared
    iou: float = shared / union
    return iou


@compiled
def candidates(
    box: NDArray[np.float64],
    objects: NDArray[np.int32],
    truth: Truth,
    thresholds: NDArray[np.float64],
    near: NDArray[np.int32],
    ious: NDArray[np.float64],
) -> int:
    """List the objects above the lowest threshold by falling IoU, the later of equals first."""
    size = 0
    for position in range(len(objects)):
        row = objects[position]
        iou = xywh_iou(box, truth.boxes[row], truth.crowd[row])
        if iou < thresholds[0]:
            continue
        i = size
        while i > 0 and ious[i - 1] <= iou:
            ious[i], near[i] = ious[i - 1], near[i - 1]
            i -= 1
        ious[i], near[i] = iou, position
        size += 1
    return size


@compiled
def iou_bits(iou: float, thresholds: NDArray[np.float64]) -> np.uint64:
    """Return the combinations whose threshold `iou` reaches."""
    level = 0
    while level < NUM_IOUS and iou >= thresholds[level]:
        level += 1
    word = (ONE << np.uint64(level)) - ONE
    return word | word << np.uint64(10) | word << np.uint64(20) | word << np.uint64(30)


@compiled
def record(out: Recorded, row: int, taken: np.uint64, object_row: int, iou: float, state: int) -> None:
    """Write a match into the columns of all sizes."""
    for t in range(NUM_IOUS):
        if taken >> np.uint64(t) & ONE:
            out.state[row, t] = state
            if object_row >= 0:
                out.matched[row, t], out.iou[row, t] = object_row, iou
                out.found_by[object_row, t] = row


@compiled
def match_detection(
    row: int,
    inside: np.uint64,
    near: NDArray[np.int32],
    ious: NDArray[np.float64],
    objects: NDArray[np.int32],
    truth: Truth,
    thresholds: NDArray[np.float64],
    claimed: NDArray[np.uint64],
    recording: bool,
    out: Recorded,
) -> tuple[np.uint64, np.uint64]:
    """Give a detection its best free object in each combination: one that counts, else an ignored one."""
    wanted, true, spared = ALL, NONE, NONE
    for counting in (True, False):
        for i in range(len(near)):
            position = near[i]
            object_row = objects[position]
            counts = truth.counts[object_row]
            taken = wanted & iou_bits(ious[i], thresholds) & (counts if counting else ~counts)
            if not truth.crowd[object_row]:
                taken &= ~claimed[position]
            if taken == NONE:
                continue
            claimed[position] |= taken
            wanted &= ~taken
            state = TRUE_POSITIVE if counting else IGNORED
            if not counting:
                spared |= taken
            elif not truth.zero_id[object_row]:
                true |= taken
            else:  # the official code marks a match by the object's id, so that id 0 reads as no match
                state = FALSE_POSITIVE if inside & ONE else IGNORED
            if recording:
                record(out, row, taken, object_row, ious[i], state)
    if recording:
        record(out, row, wanted & PER_AREA, -1, 0.0, FALSE_POSITIVE if inside & ONE else IGNORED)
    return true, spared


@compiled
def match_class(
    rows: NDArray[np.int32],
    found: Found,
    objects: NDArray[np.int32],
    truth: Truth,
    num_images: int,
    limit: int,
    ranges: NDArray[np.float64],
    thresholds: NDArray[np.float64],
    recording: bool,
    out: Recorded,
) -> Words:
    """Match one class: its detections by falling score, its objects by image."""
    first, count = np.zeros(num_images, np.int32), np.zeros(num_images, np.int32)
    most = 0
    for position in range(len(objects)):
        image = truth.images[objects[position]]
        if count[image] == 0:
            first[image] = position
        count[image] += 1
        most = max(most, count[image])
    near, ious = np.empty(most, np.int32), np.empty(most, np.float64)
    claimed = np.zeros(len(objects), np.uint64)
    seen = np.zeros(num_images, np.int32)
    scores, rank = np.empty(len(rows)), np.empty(len(rows), np.int32)
    insides, trues, spareds = np.zeros((3, len(rows)), np.uint64)
    size = 0
    for row in rows:
        image = found.images[row]
        place = seen[image]
        if place == limit:
            continue
        seen[image] = place + 1
        box = found.boxes[row]
        inside = area_bits(box[2] * box[3], ranges)
        scores[size], rank[size], insides[size] = found.scores[row], place, inside
        start, stop = first[image], first[image] + count[image]
        num_near = 0
        if stop > start:
            num_near = candidates(box, objects[start:stop], truth, thresholds, near, ious)
        if num_near or recording:
            trues[size], spareds[size] = match_detection(
                row, inside, near[:num_near], ious, objects[start:stop], truth, thresholds,
                claimed[start:stop], recording, out,
            )  # fmt: skip
        size += 1
    return Words(scores[:size], rank[:size], insides[:size], trues[:size], spareds[:size])
