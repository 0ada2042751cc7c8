"""COCO's matching of one class, compiled.

The four object sizes and ten IoU thresholds are matched at once: each of the 40 combinations is one
bit of a word, and a detection or object carries a word for every yes-or-no it needs.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from detkit.evaluation.metrics.matching import FALSE_POSITIVE, IGNORED, TRUE_POSITIVE
from detkit.evaluation.metrics.score_order import objects_by_image
from detkit.runtime.compiled import compiled

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


class DetectionColumns(NamedTuple):
    """Columns of a `DetectionSet`, as the compiled loops want them."""

    images: NDArray[np.int64]
    boxes: NDArray[np.float64]
    scores: NDArray[np.float64]


class Recorded(NamedTuple):
    """Columns of `MatchRecords` to fill; empty arrays where nobody asked."""

    state: NDArray[np.uint8]
    matched: NDArray[np.int32]
    iou: NDArray[np.float64]
    found_by: NDArray[np.int32]


class Similarities(NamedTuple):
    """What is compared in the place of IoU, such as key points; empty where boxes are.

    Attributes:
        values: of each detection with the objects of its class and image in their order, one after another.
        starts: (D,) where those of a detection begin.
        boxes: (D, 4) x y width height that say how large a detection is.
    """

    values: NDArray[np.float64]
    starts: NDArray[np.int64]
    boxes: NDArray[np.float64]


class MatchBits(NamedTuple):
    """One class's detections that are within the limit, by falling score.

    Attributes:
        scores: (n,).
        rank: (n,) place within its image.
        inside: (n,) sizes whose range holds the detection's own area.
        true: (n,) combinations in which it is a true positive.
        ignored: (n,) combinations in which it fell to an ignored object.
    """

    scores: NDArray[np.float64]
    rank: NDArray[np.int32]
    inside: NDArray[np.uint64]
    true: NDArray[np.uint64]
    ignored: NDArray[np.uint64]


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
def xywh_iou(a: NDArray[np.float64], i: int, b: NDArray[np.float64], j: int, crowd: bool) -> float:
    """IoU of detection i with object j; with a crowd region, the part of the detection inside it."""
    width = min(a[i, 2] + a[i, 0], b[j, 2] + b[j, 0]) - max(a[i, 0], b[j, 0])
    if width <= 0:
        return 0.0
    height = min(a[i, 3] + a[i, 1], b[j, 3] + b[j, 1]) - max(a[i, 1], b[j, 1])
    if height <= 0:
        return 0.0
    shared = width * height
    area = a[i, 2] * a[i, 3]
    union = area if crowd else area + b[j, 2] * b[j, 3] - shared
    iou: float = shared / union
    return iou


@compiled
def iou_bits(iou: float, thresholds: NDArray[np.float64]) -> np.uint64:
    """Return the combinations whose threshold `iou` reaches."""
    level = 0
    for t in range(NUM_IOUS):
        level += iou >= thresholds[t]
    word = (ONE << np.uint64(level)) - ONE
    return word | word << np.uint64(10) | word << np.uint64(20) | word << np.uint64(30)


@compiled
def overlapping(
    row: int,
    boxes: NDArray[np.float64],
    objects: NDArray[np.int32],
    start: int,
    stop: int,
    object_boxes: NDArray[np.float64],
    crowd: NDArray[np.bool_],
    thresholds: NDArray[np.float64],
    near: NDArray[np.int32],
    ious: NDArray[np.float64],
    known: NDArray[np.float64],
    known_start: int,
) -> int:
    """List objects[start:stop] above the lowest threshold by falling IoU, the later of equals first.

    `known` holds from `known_start` on what is compared instead; without any it is the boxes' IoU.
    """
    size = 0
    for position in range(start, stop):
        object_row = objects[position]
        if len(known):
            iou = known[known_start + position - start]
        else:
            iou = xywh_iou(boxes, row, object_boxes, object_row, crowd[object_row])
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
def assign(
    size: int,
    near: NDArray[np.int32],
    ious: NDArray[np.float64],
    thresholds: NDArray[np.float64],
    counts: NDArray[np.uint64],
    crowd: NDArray[np.bool_],
    objects: NDArray[np.int32],
    claimed: NDArray[np.uint64],
    given: NDArray[np.uint64],
) -> None:
    """Give a detection its best free object in each combination: one that counts, else an ignored one.

    `given` becomes the combinations in which it has each of the `size` objects near it.
    """
    wanted = ALL
    for i in range(size):
        given[i] = NONE
    for counting in (True, False):
        for i in range(size):
            taken = wanted & iou_bits(ious[i], thresholds)
            if taken == NONE:
                break
            object_row = objects[near[i]]
            taken &= counts[object_row] if counting else ~counts[object_row]
            if not crowd[object_row]:
                taken &= ~claimed[near[i]]
            claimed[near[i]] |= taken
            given[i] |= taken
            wanted &= ~taken


@compiled
def outcome(
    size: int,
    near: NDArray[np.int32],
    objects: NDArray[np.int32],
    counts: NDArray[np.uint64],
    zero_id: NDArray[np.bool_],
    given: NDArray[np.uint64],
) -> tuple[np.uint64, np.uint64]:
    """Return the combinations in which a detection is a true positive, and in which it is ignored.

    The official code marks a match by the object's annotation id, so that id 0 reads as no match.
    """
    true, ignored = NONE, NONE
    for i in range(size):
        object_row = objects[near[i]]
        ignored |= given[i] & ~counts[object_row]
        if not zero_id[object_row]:
            true |= given[i] & counts[object_row]
    return true, ignored


@compiled
def record(
    row: int,
    iou: float,
    given: np.uint64,
    true: np.uint64,
    ignored: np.uint64,
    object_row: int,
    out: Recorded,
) -> None:
    """Write one object given to one detection into the columns of all sizes."""
    for t in range(NUM_IOUS):
        if given >> np.uint64(t) & ONE:
            out.matched[row, t], out.iou[row, t], out.found_by[object_row, t] = object_row, iou, row
            if true >> np.uint64(t) & ONE:
                out.state[row, t] = TRUE_POSITIVE
            elif ignored >> np.uint64(t) & ONE:
                out.state[row, t] = IGNORED


@compiled
def match_class(
    rows: NDArray[np.int32],
    detections: DetectionColumns,
    objects: NDArray[np.int32],
    truth: Truth,
    num_images: int,
    limit: int,
    ranges: NDArray[np.float64],
    thresholds: NDArray[np.float64],
    recording: bool,
    out: Recorded,
    similarities: Similarities,
) -> MatchBits:
    """Match one class: its detections by falling score, its objects by image."""
    known, known_starts = similarities.values, similarities.starts
    images, boxes, scores = detections  # a field read in a loop costs an atomic
    starts, stops = objects_by_image(objects, truth.images, num_images)
    object_boxes, crowd, counts, zero_id = truth.boxes, truth.crowd, truth.counts, truth.zero_id
    most = max(1, (stops - starts).max()) if num_images else 1
    near, ious, given = np.empty(most, np.int32), np.empty(most), np.empty(most, np.uint64)
    claimed = np.zeros(len(objects), np.uint64)
    seen = np.zeros(num_images, np.int32)
    kept_scores, rank = np.empty(len(rows)), np.empty(len(rows), np.int32)
    inside, true, ignored = np.zeros((3, len(rows)), np.uint64)
    kept = 0
    for i in range(len(rows)):
        row = rows[i]
        image = images[row]
        place = seen[image]
        if place == limit:
            continue
        seen[image] = place + 1
        inside[kept] = area_bits(boxes[row, 2] * boxes[row, 3], ranges)
        kept_scores[kept], rank[kept] = scores[row], place
        size, start, stop = 0, starts[image], stops[image]
        if stop > start:
            size = overlapping(
                row, boxes, objects, start, stop, object_boxes, crowd, thresholds, near, ious,
                known, known_starts[row] if len(known) else 0,
            )  # fmt: skip
        if size:
            assign(size, near, ious, thresholds, counts, crowd, objects, claimed, given)
            true[kept], ignored[kept] = outcome(size, near, objects, counts, zero_id, given)
        if recording:
            out.state[row] = FALSE_POSITIVE if inside[kept] & ONE else IGNORED
            for j in range(size):
                record(row, ious[j], given[j], true[kept], ignored[kept], objects[near[j]], out)
        kept += 1
    return MatchBits(kept_scores[:kept], rank[:kept], inside[:kept], true[:kept], ignored[:kept])
