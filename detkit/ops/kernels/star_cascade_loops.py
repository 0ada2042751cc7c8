"""The star-cascade as compiled loops: parts are added to a root one by one, until it cannot win any more.

A part is looked for only where moving there costs less than is left to lose, or where it was looked for
already: so the order of the roots is a part of the result.

Felzenszwalb, Girshick and McAllester, "Cascade Object Detection with Deformable Part Models", CVPR 2010.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from detkit.runtime.compiled import compiled

Array = NDArray[Any]


@compiled
def pass_few_channels(
    roots: Array,
    bias: float,
    parts: tuple[Array, Array, int],
    movement: tuple[Array, Array, Array],
    order: Array,
    limits: Array,
    border: tuple[int, int],
    known: Array,
    seen: Array,
    found: Array,
    scores: Array,
) -> int:
    """Find the roots whose score stays above the limits of the first half of the stages, in few channels.

    Args:
        roots: (rows, columns) float32 scores of the root, without the bias.
        bias: of the component.
        parts: (P, h, w * C) filters, (H, W * C) padded features of their level, and C.
        movement: (P, 2) y and x of each part's anchor for the root at 0, 0; (P, n, n) float64 cost of moving
            up to reach cells up or left, first, to down or right; and (P, n * n, 2) the places in that table,
            the cheapest first.
        order: (2 * (P + 1),) what each stage adds: 0 the root, 1 the first part.
        limits: (4 * (P + 1),) least score: of each stage with its part where it is best, and as it is.
        border: rows and columns of roots that are not looked at.
        known: (P, H + n - 1, W + n - 1) float32 scores of all parts everywhere, with a border of -inf, where
            they were computed at once; with P = 0 each is computed where it is needed.
        seen: (P, H + n - 1, W + n - 1) float32 memory for what parts scored where they were looked for.
        found: (rows * columns, 2) to be filled with y and x.
        scores: (rows * columns, P + 2) float64 to be filled with those of root and parts, and the whole.

    Returns:
        How many were found.
    """
    seen[:] = -np.inf
    number, sums, most = 0, np.empty(parts[0].shape[2], np.float32), np.empty(movement[1].shape[1])
    for x in range(border[1], roots.shape[1] - border[1]):
        for y in range(border[0], roots.shape[0] - border[0]):
            own = scores[number]
            own[0] = roots[y, x]
            score = own[0] + bias
            if score < limits[1]:
                continue
            for stage in range(1, scores.shape[1]):
                if score < limits[2 * stage - 1]:
                    score = -np.inf
                    break
                if stage == scores.shape[1] - 1:
                    break
                part = order[stage] - 1
                least = limits[2 * stage] - score
                if len(known):
                    best = _best_known(movement, part, y, x, least, known[part], seen[part], most)
                else:
                    best = _best(parts, movement, part, y, x, least, seen[part], sums, most)
                own[part + 1] = best
                score += own[part + 1]
            if score > -np.inf:
                own[-1] = score
                found[number, 0], found[number, 1] = y, x
                number += 1
    return number


@compiled
def pass_all_channels(
    found: Array,
    scores: Array,
    root: tuple[Array, Array, int],
    parts: tuple[Array, Array, int],
    movement: tuple[Array, Array, Array],
    order: Array,
    limits: Array,
    seen: Array,
    places: Array,
) -> int:
    """Keep the roots that pass the second half, in which all channels take the place of few.

    Args:
        found: (N, 2) y and x; those that pass come first in the end.
        scores: (N, P + 2) from `pass_few_channels`.
        root: (h, w * C) filter, (H', W' * C) padded features of its level, and C.
        parts: likewise of the parts, see `pass_few_channels`, as all others.
        movement: likewise.
        order: likewise.
        limits: likewise.
        seen: likewise; other memory.
        places: (N, P, 2) to be filled with y and x of the parts, behind each other likewise.

    Returns:
        How many pass.
    """
    seen[:] = -np.inf
    number, num_parts = 0, places.shape[1]
    sums = np.empty(max(root[0].shape[1], parts[0].shape[2]), np.float32)
    most = np.empty(movement[1].shape[1])
    for candidate in range(len(found)):
        (y, x), own = found[candidate], scores[candidate]
        score = own[-1]
        for stage in range(num_parts + 1, len(order)):
            if score < limits[2 * stage - 1]:
                score = -np.inf
                break
            part = order[stage] - 1
            if part < 0:
                score += _respond(root[0], root[1], y, x * root[2], sums) - own[0]
                continue
            least = limits[2 * stage] - score
            best = _best(parts, movement, part, y, x, least, seen[part], sums, most)
            places[number, part] = _where(movement, part, y, x, best, seen[part])
            score += best - own[part + 1]
        if score >= limits[-1]:
            found[number, 0], found[number, 1] = y, x
            number += 1
    return number


@compiled
def _best(
    parts: tuple[Array, Array, int],
    movement: tuple[Array, Array, Array],
    part: int,
    y: int,
    x: int,
    least: float,
    seen: Array,
    sums: Array,
    most: Array,
) -> float:
    """Return what a part of a root scores, less what it costs to move there."""
    (filters, features, channels), (offsets, costs, moves) = parts, movement
    side = costs.shape[1]
    top, left = 2 * y + offsets[part, 0], 2 * x + offsets[part, 1]  # of the window in `seen`
    if not (0 <= top <= seen.shape[0] - side and 0 <= left <= seen.shape[1] - side):
        return -np.inf
    reach = side // 2
    height = features.shape[0] - filters.shape[1] + 1
    width = (features.shape[1] - filters.shape[2]) // channels + 1
    table = costs[part]
    for move in range(moves.shape[1]):
        down, right = moves[part, move, 0], moves[part, move, 1]
        if -table[down, right] < least:
            break
        row, column = top + down, left + right
        inside = reach <= row < height + reach and reach <= column < width + reach
        if inside and seen[row, column] == -np.inf:
            seen[row, column] = _respond(
                filters[part], features, row - reach, (column - reach) * channels, sums
            )
    most[:] = -np.inf
    for down in range(side):
        line, moving = seen[top + down, left : left + side], table[down]
        for right in range(side):
            value = line[right] - moving[right]
            most[right] = value if value > most[right] else most[right]
    return float(most.max())


@compiled
def _best_known(
    movement: tuple[Array, Array, Array],
    part: int,
    y: int,
    x: int,
    least: float,
    known: Array,
    seen: Array,
    most: Array,
) -> float:
    """Return what `_best` returns, of a part whose scores are known."""
    offsets, costs, _ = movement
    side = costs.shape[1]
    top, left = 2 * y + offsets[part, 0], 2 * x + offsets[part, 1]
    if not (0 <= top <= seen.shape[0] - side and 0 <= left <= seen.shape[1] - side):
        return -np.inf
    most[:] = -np.inf
    for down in range(side):
        line, moving = seen[top + down, left : left + side], costs[part, down]
        all_of_line = known[top + down, left : left + side]
        for right in range(side):
            score = line[right] if -moving[right] < least else all_of_line[right]
            line[right] = score
            value = score - moving[right]
            most[right] = value if value > most[right] else most[right]
    return float(most.max())


@compiled
def _where(
    movement: tuple[Array, Array, Array], part: int, y: int, x: int, best: float, seen: Array
) -> tuple[int, int]:
    """Return where a part scores best, of equal places the first column, then the first row."""
    offsets, costs, _ = movement
    side = costs.shape[1]
    top, left = 2 * y + offsets[part, 0], 2 * x + offsets[part, 1]
    if best > -np.inf:
        for right in range(side):
            for down in range(side):
                if seen[top + down, left + right] - costs[part, down, right] == best:
                    return top + down - side // 2, left + right - side // 2
    return top, left


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
