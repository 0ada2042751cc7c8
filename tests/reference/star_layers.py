"""Star models on a map, place by place and part by part, as the formulas say."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def response(maps: Array, weights: Array, y: int, x: int) -> float:
    """Return the product of a filter with the features from (y, x) on, which are 0 beyond the map."""
    total = 0.0
    for row, column in np.ndindex(weights.shape[1:]):
        at = y + row, x + column
        if 0 <= at[0] < maps.shape[1] and 0 <= at[1] < maps.shape[2]:
            total += float(maps[:, at[0], at[1]] @ weights[:, row, column])
    return total


def star_margin(
    maps: Array,
    root: Array,
    bias: float,
    parts: Array,
    anchors: list[tuple[int, int]],
    deformations: Array,
    reach: int,
    place: tuple[int, int],
) -> tuple[float, list[tuple[int, int]]]:
    """Return the margin of a star model whose root's middle is at a place, and where its parts are.

    Args:
        maps: (C, H, W) features.
        root: (C, rows, columns) filter.
        bias: of the margin.
        parts: (P, C, rows, columns) filters.
        anchors: y and x of each part from the root's first cell.
        deformations: (P, 4) ax, bx, ay, by.
        reach: cells that a part may move.
        place: y and x.
    """
    top, left = place[0] - root.shape[1] // 2, place[1] - root.shape[2] // 2
    total, places = response(maps, root, top, left) + bias, []
    for weights, (down, across), (ax, bx, ay, by) in zip(parts, anchors, deformations, strict=True):
        best, best_at = -np.inf, (0, 0)
        for x, y in itertools.product(range(-reach, reach + 1), repeat=2):
            at = top + down + y, left + across + x
            dy, dx = -y, -x  # the anchor less the part
            value = response(maps, weights, *at) - ax * dx**2 - bx * dx - ay * dy**2 - by * dy
            if value > best:
                best, best_at = value, at
        total += best
        places.append(best_at)
    return total, places
