"""Non-maximum suppression as a compiled loop.

A box is compared with those kept so far, in blocks that compile to vector instructions, and only until
one suppresses it; most boxes are soon. Comparing each kept box with all that follow, as is common, cannot
stop early, neither at a box nor once enough are kept. `benchmarks/nms.py` measures what that saves.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from detkit.runtime.compiled import compiled

Array = NDArray[Any]

_BLOCK = 16


@compiled
def keep_best(boxes: Array, limit: float, sides: Array, kept: Array) -> int:
    """Find the boxes that no better one overlaps by more than a limit.

    Args:
        boxes: (N, 4) float32 corner boxes, best first.
        limit: greatest IoU that is no overlap; float32, rounded down.
        sides: (5, at_most) float32 for the corners and areas of the kept boxes.
        kept: (at_most,) int64 to be filled with positions.

    Returns:
        How many were kept.
    """
    num = 0
    for row in range(len(boxes)):
        x1, y1, x2, y2 = boxes[row]
        area = (x2 - x1) * (y2 - y1)
        begin = 0
        suppressed = False
        while begin < num and not suppressed:
            end = min(begin + _BLOCK, num)
            for other in range(begin, end):
                width = max(min(x2, sides[2, other]) - max(x1, sides[0, other]), np.float32(0))
                height = max(min(y2, sides[3, other]) - max(y1, sides[1, other]), np.float32(0))
                shared = width * height
                suppressed |= shared / (area + sides[4, other] - shared) > limit
            begin = end
        if suppressed:
            continue
        if num == len(kept):
            break
        sides[0, num], sides[1, num], sides[2, num], sides[3, num], sides[4, num] = x1, y1, x2, y2, area
        kept[num] = row
        num += 1
    return num


@compiled
def keep_best_of_groups(boxes: Array, ends: Array, limit: float, sides: Array, kept: Array) -> int:
    """Find the boxes that no better one of their group overlaps by more than a limit.

    Args:
        boxes: (N, 4) float32 corner boxes, group by group, best first.
        ends: (G,) int64, where each group ends.
        limit: greatest IoU that is no overlap; float32, rounded down.
        sides: (5, at_most) float32, see `keep_best`; at most so many are kept of a group.
        kept: (N,) int64 to be filled with positions.

    Returns:
        How many were kept.
    """
    num = begin = 0
    for end in ends:
        room = min(end - begin, sides.shape[1])
        found = keep_best(boxes[begin:end], limit, sides, kept[num : num + room])
        for place in range(num, num + found):
            kept[place] += begin
        num += found
        begin = end
    return num


@compiled
def keep_uncovered(boxes: Array, share: float, kept: Array) -> int:
    """Find the boxes of which no better one that is kept covers more than a share.

    Args:
        boxes: (N, 4) float64 corner boxes, best first.
        share: of a box's own area.
        kept: (N,) int64 to be filled with positions.

    Returns:
        How many were kept.
    """
    num = 0
    for row in range(len(boxes)):
        x1, y1, x2, y2 = boxes[row]
        area = (x2 - x1) * (y2 - y1)
        covered = False
        for place in range(num):
            left, top, right, bottom = boxes[kept[place]]
            width, height = min(x2, right) - max(x1, left), min(y2, bottom) - max(y1, top)
            if width > 0 and height > 0 and width * height / area > share:
                covered = True
                break
        if not covered:
            kept[num] = row
            num += 1
    return num


@compiled
def decay_groups(
    boxes: Array, scores: Array, ends: Array, limit: float, sigma: float, floor: float, kept: Array
) -> int:
    """Lower the scores of boxes that overlap a better one of their group, and find those that stay.

    Args:
        boxes: (N, 4) float32 corner boxes, group by group.
        scores: (N,) float32, lowered in place.
        ends: (G,) int64, where each group ends.
        limit: IoU above which a score is lowered by it; of no meaning with a sigma.
        sigma: lowers every score by a Gaussian of the IoU; 0 lowers linearly.
        floor: boxes whose score falls below it go.
        kept: (N,) int64 to be filled with positions.

    Returns:
        How many were kept.
    """
    num = begin = 0
    for end in ends:
        left = np.arange(begin, end)
        count = end - begin
        begin = end
        while count:
            best = 0
            for place in range(1, count):
                row, leader = left[place], left[best]
                if scores[row] > scores[leader] or (scores[row] == scores[leader] and row < leader):
                    best = place
            row = left[best]
            if scores[row] < floor:
                break
            kept[num] = row
            num += 1
            count -= 1
            left[best] = left[count]
            x1, y1, x2, y2 = boxes[row]
            for place in range(count):
                other = left[place]
                left_px, top, right, bottom = boxes[other]
                width, height = min(x2, right) - max(x1, left_px), min(y2, bottom) - max(y1, top)
                if width <= 0 or height <= 0:
                    continue
                shared = width * height
                iou = shared / ((x2 - x1) * (y2 - y1) + (right - left_px) * (bottom - top) - shared)
                if sigma > 0:
                    scores[other] *= np.exp(-iou * iou / sigma)
                elif iou > limit:
                    scores[other] *= 1 - iou
    return num
