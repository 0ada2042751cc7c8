"""Overlap, matching and suppression as loops over Python numbers."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

Box = Sequence[float]


def intersection(a: Box, b: Box) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    return width * height if width > 0 and height > 0 else 0.0


def area(a: Box) -> float:
    return intersection(a, a)


def iou(a: Box, b: Box) -> float:
    union = area(a) + area(b) - intersection(a, b)
    return intersection(a, b) / union if union > 0 else 0.0


def match(overlaps: list[list[float]], fg: float, low: float, high: float, force: bool) -> list[int]:
    """Return for each row its column, -1 for background or -2 for ignored."""
    found = []
    for row in overlaps:
        best = max(row, default=0.0)
        forced = force and any(
            value > 0 and value == max(other[column] for other in overlaps)
            for column, value in enumerate(row)
        )
        if row and (best >= fg or forced):
            found.append(row.index(best))
        else:
            found.append(-1 if low <= best < high else -2)
    return found


def nms(boxes: list[Box], scores: list[float], limit: float) -> list[int]:
    kept: list[int] = []
    for candidate in sorted(range(len(boxes)), key=lambda row: -scores[row]):
        if all(iou(boxes[candidate], boxes[row]) <= limit for row in kept):
            kept.append(candidate)
    return kept


def soft_nms(
    boxes: list[Box], scores: list[float], limit: float | None, sigma: float, floor: float
) -> list[tuple[int, float]]:
    """Linear with a limit, and Gaussian without one."""
    left, kept = dict(enumerate(scores)), []
    while left:
        best = max(left, key=lambda row: left[row])
        score = left.pop(best)
        if score >= floor:
            kept.append((best, score))
        for row in left:
            overlap = iou(boxes[best], boxes[row])
            if limit is None:
                left[row] *= math.exp(-(overlap**2) / sigma)
            elif overlap > limit:
                left[row] *= 1 - overlap
    return kept


def random_boxes(num: int, seed: int, extent_px: float = 100.0) -> list[list[float]]:
    draw = random.Random(seed)
    boxes = []
    for _ in range(num):
        x, y = draw.uniform(0, extent_px), draw.uniform(0, extent_px)
        boxes.append([x, y, x + draw.uniform(1, extent_px / 2), y + draw.uniform(1, extent_px / 2)])
    return boxes
