"""Scores of star models as compiled loops: parts added to their root, and where each part is."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from detkit.ops.kernels.distance_transform_loops import find_place, take_better
from detkit.runtime.compiled import compiled

Array = NDArray[Any]


@compiled
def add_parts(
    scores: Array,
    responses: Array,
    outside: Array,
    first: tuple[int, int],
    size: tuple[int, int],
    costs: Array,
    offsets: Array,
) -> None:
    """Add to each root what each part scores in the best place near its anchor, less what it costs to move.

    Parts have twice the resolution: only every second row and column of their distance transform is looked
    at, and only these are made. Rows are taken first.

    Args:
        scores: (rows, columns) float64 of the root; -inf is added where a part's map has no such place.
        responses: (P, h, w) scores of parts that stay where they are, wherever they touch the image.
        outside: (P,) those elsewhere in the map.
        first: row and column of the map where `responses` begin, perhaps before it; as many are behind them.
        size: rows and columns of the map; anchors must lie in it.
        costs: (2, P, 2 * reach + 1) cost of moving in x and in y.
        offsets: (P, 2) int64 y and x of each part's anchor for the root at 0, 0.
    """
    rows, columns = scores.shape
    width = size[1]
    here = _by_part(responses)
    moved = np.empty(columns, responses.dtype)
    halves = np.full((2, width // 2 + 1), -np.inf, responses.dtype)  # of a row: even columns, and odd ones
    best = np.empty(responses.shape[2], responses.dtype)
    for part in range(len(here)):
        down, right = offsets[part]
        begin, end = min(max((1 - right) // 2, 0), columns), min((width - right + 1) // 2, columns)
        for y in range(rows):
            row = 2 * y + down
            if row < 0 or row >= size[0] or end <= begin:
                scores[y] = -np.inf
                continue
            around = _take_rows(here[part], outside[part], first[0], size[0], costs[1, part], row, best)
            _halve(best, around, first[1], width, halves)
            _take_columns(halves, width, costs[0, part], right, moved[begin:end], begin)
            scores[y, :begin] = -np.inf
            scores[y, end:] = -np.inf
            for x in range(begin, end):
                scores[y, x] += moved[x]


@compiled
def _by_part(responses: Array) -> Array:
    """Return a copy whose maps lie behind each other; convolutions leave those of one place together."""
    copy = np.empty(responses.shape, responses.dtype)
    for y in range(responses.shape[1]):
        for part in range(len(responses)):
            for x in range(responses.shape[2]):
                copy[part, y, x] = responses[part, y, x]
    return copy


@compiled
def _take_rows(
    responses: Array, outside: Any, first: int, height: int, costs: Array, row: int, best: Array
) -> Any:
    """Find the best in each column for a row of the map, and return that of columns beside the responses."""
    reach = len(costs) // 2
    best[:] = -np.inf
    above = around = best.dtype.type(-np.inf)
    for source in range(max(row - reach, 0), min(row + reach + 1, height, len(responses) + 2 * first)):
        cost = costs[row - source + reach]
        around = max(around, outside - cost)
        if 0 <= source - first < len(responses):
            take_better(responses[source - first], cost, best)
        else:
            above = max(above, outside - cost)
    for x in range(len(best)):
        best[x] = above if above > best[x] else best[x]
    return around


@compiled
def _halve(best: Array, around: Any, first: int, width: int, halves: Array) -> None:
    """Divide a row of the map between its even and its odd columns."""
    end = min(len(best) + 2 * first, width)
    for x in range(width):
        inside = 0 <= x - first < len(best)
        value = best[x - first] if inside else around
        halves[x % 2, x // 2] = value if x < end else -np.inf


@compiled
def _take_columns(halves: Array, width: int, costs: Array, right: int, moved: Array, first: int) -> None:
    """Find the best for each second column, counted from `right`, from number `first` on."""
    reach = len(costs) // 2
    moved[:] = -np.inf
    for step in range(-reach, reach + 1):
        odd = (right - step) % 2
        start = first + (right - step - odd) // 2  # where in its half the first one comes from
        begin, end = max(-start, 0), min(len(moved), (width + 1 - odd) // 2 - start)
        if begin < end:
            take_better(halves[odd, start + begin : start + end], costs[step + reach], moved[begin:end])


@compiled
def find_places(responses: Array, costs: Array, offsets: Array, roots: Array, places: Array) -> None:
    """Find where each part of each root is.

    Args:
        responses: (P, H, W) scores of parts that stay where they are.
        costs: (2, P, 2 * reach + 1) cost of moving in x and in y.
        offsets: see `add_parts`.
        roots: (N, 2) int64 y and x.
        places: (N, P, 2) int64 to be filled with y and x.
    """
    for number in range(len(roots)):
        for part in range(len(offsets)):
            y = 2 * roots[number, 0] + offsets[part, 0]
            x = 2 * roots[number, 1] + offsets[part, 1]
            row, column = find_place(responses[part], costs[1, part], costs[0, part], y, x)
            places[number, part, 0], places[number, part, 1] = row, column


@compiled
def fill_scores(features: Array, filters: Array, places: Array, scores: Array) -> None:
    """Find what filters score at a place each, in float64.

    Args:
        features: (H, W, C) float32 of the cells of an image. Outside them all channels are 0 but the last,
            which is 1 there.
        filters: (F, h, w, C) float32.
        places: (N, F, 2) int64 row and column of a filter's corner, perhaps outside.
        scores: (N, F) float64 to be filled.
    """
    height, width = features.shape[:2]
    for number in range(len(places)):
        for place in range(len(filters)):
            top, left = places[number, place]
            total = 0.0
            for y in range(filters.shape[1]):
                for x in range(filters.shape[2]):
                    weights = filters[place, y, x]
                    if 0 <= top + y < height and 0 <= left + x < width:
                        values = features[top + y, left + x]
                        for channel in range(len(weights)):
                            total += np.float64(values[channel]) * weights[channel]
                    else:
                        total += weights[-1]
            scores[number, place] = total
