"""The star-cascade as a compiled loop: parts are added to a root one by one, until it cannot win any more.

Felzenszwalb, Girshick and McAllester, "Cascade Object Detection with Deformable Part Models", CVPR 2010.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from detkit.runtime.compiled import compiled

Array = NDArray[Any]


@compiled
def run_cascade(
    roots: Array,
    root: tuple[Array, Array, int],
    parts: tuple[tuple[Any, ...], tuple[Any, ...]],
    offsets: Array,
    costs: Array,
    order: Array,
    limits: Array,
    border: tuple[int, int],
    found: Array,
    places: Array,
) -> int:
    """Find the roots whose score stays above the limit of every stage, with all parts in the end.

    The first half of the stages sees features of few channels, the second replaces their scores by those of
    all channels. A part is looked for only where moving there costs less than is left to lose; what was
    computed for one root serves the next, so that the order of the roots is a part of the result.

    Args:
        roots: (2, rows, columns) float64 scores of the root in few channels: with the bias, and without.
        root: (h, w * C) filter, (H, W * C) padded features, and C, all of them.
        parts: in few channels and in all: (P, h, w * C) filters, (H', W' * C) padded features of their level,
            C, whether responses are there already, and what `memory_of` returns.
        offsets: (P, 2) y and x of each part's anchor for the root at 0, 0.
        costs: (2, P, 2 * reach + 1) float64 cost of moving in x and in y.
        order: (2 * (P + 1),) what each stage adds: 0 the root, 1 the first part.
        limits: (4 * (P + 1),) least score: of each stage with its part where it is best, and as it is.
        border: rows and columns of roots that are not looked at.
        found: (rows * columns, 2) to be filled with y and x.
        places: (rows * columns, P, 2) to be filled with y and x of the parts.

    Returns:
        How many were found.
    """
    number = 0
    coarse = np.empty(len(offsets) + 1)
    widest = max(root[0].shape[1], parts[0][0].shape[2], parts[1][0].shape[2])
    sums = np.empty(widest, np.float32)
    height, width = parts[1][4].shape[1:]
    for x in range(border[1], roots.shape[2] - border[1]):
        for y in range(border[0], roots.shape[1] - border[0]):
            coarse[0] = roots[1, y, x]
            score = roots[0, y, x]
            for stage in range(1, len(order)):
                if score < limits[2 * stage - 1]:
                    score = -np.inf
                    break
                part, all_channels = order[stage] - 1, int(stage > len(offsets))
                if part < 0:
                    score += _respond(root[0], root[1], y, x * root[2], sums) - coarse[0]
                    continue
                row, column = 2 * y + offsets[part, 0], 2 * x + offsets[part, 1]
                added = -np.inf
                if 0 <= row < height and 0 <= column < width:
                    least = limits[2 * stage] - score
                    added = _place(parts[all_channels], part, costs[:, part], row, column, least, sums)
                score += added - coarse[part + 1] if all_channels else added
                if not all_channels:
                    coarse[part + 1] = added
            if score >= limits[-1]:
                found[number, 0], found[number, 1] = y, x
                for part in range(len(offsets)):
                    source = parts[1][7][part, 2 * y + offsets[part, 0], 2 * x + offsets[part, 1]]
                    places[number, part, 0], places[number, part, 1] = source // width, source % width
                number += 1
    return number


def memory_of(responses: Array) -> tuple[Array, Array, Array, Array, Array]:
    """Return memory for what is known: of places responses and whether, of anchors best, source and whether.

    Nothing is written here; most of it never will be.

    Args:
        responses: (P, H, W) float32, made already or yet to be filled.
    """
    shape = responses.shape
    best, sources = np.empty(shape), np.empty(shape, np.int32)
    return responses, np.zeros(shape, np.uint8), best, sources, np.zeros(shape, np.uint8)


@compiled
def _place(
    half: tuple[Any, ...], part: int, costs: Array, row: int, column: int, least: float, sums: Array
) -> float:
    """Return what a part scores near its anchor, less what it costs to move there."""
    filters, features, channels, are_there, values, is_made, best, sources, is_known = half
    if is_known[part, row, column]:
        return float(best[part, row, column])
    height = features.shape[0] - filters.shape[1] + 1
    width = (features.shape[1] - filters.shape[2]) // channels + 1
    reach = costs.shape[1] // 2
    most = -np.inf
    for x in range(max(column - reach, 0), min(column + reach + 1, width)):
        for y in range(max(row - reach, 0), min(row + reach + 1, height)):
            cost = costs[0, column - x + reach] + costs[1, row - y + reach]
            if not is_made[part, y, x]:
                if -cost < least:
                    continue
                if not are_there:
                    values[part, y, x] = _respond(filters[part], features, y, x * channels, sums)
                is_made[part, y, x] = 1
            if values[part, y, x] - cost > most:
                most = values[part, y, x] - cost
                sources[part, row, column] = y * values.shape[2] + x
    if most > -np.inf:
        best[part, row, column] = most
        is_known[part, row, column] = 1
    return most


@compiled
def _respond(weights: Array, features: Array, y: int, start: int, sums: Array) -> float:
    """Return what a filter scores: the products of all its rows are added up lane by lane, then the lanes."""
    num = weights.shape[1]
    lanes = sums[:num]
    lanes[:] = 0
    for row in range(len(weights)):
        own, under = weights[row], features[y + row, start : start + num]
        for lane in range(num):
            lanes[lane] += own[lane] * under[lane]
    while num > 8 and num % 2 == 0:
        num //= 2
        upper = sums[num : 2 * num]
        for lane in range(num):
            lanes[lane] += upper[lane]
    total = 0.0
    for lane in range(num):
        total += lanes[lane]
    return total
