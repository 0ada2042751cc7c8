"""Bounded distance transforms as compiled loops, and the place of a single part.

A row of a map is a step of vector instructions. With the few cells that a part may move, trying all of them
so is faster than the lower envelope of parabolas, which makes a branch at every cell.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from detkit.runtime.compiled import compiled

Array = NDArray[Any]


@compiled
def transform_columns(scores: Array, costs: Array, best: Array, sources: Array) -> None:
    """Find for each cell the best score of its column, less what it costs to come from there.

    Args:
        scores: (F, H, W) F maps.
        costs: (F, 2 * reach + 1) cost of coming from reach rows below to reach rows above.
        best: (F, H, W) to be filled.
        sources: (F, H, W) int16 to be filled with rows, of equal ones the first; empty leaves them out.
    """
    num_maps, height, _ = scores.shape
    reach = costs.shape[1] // 2
    best[:] = -np.inf
    for part in range(num_maps):
        for y in range(height):
            # The first of equal ones comes last.
            for row in range(min(y + reach + 1, height) - 1, max(y - reach, 0) - 1, -1):
                cost = costs[part, y - row + reach]
                if sources.size:
                    _note(scores[part, row], cost, best[part, y], row, sources[part, y])
                take_better(scores[part, row], cost, best[part, y])


@compiled
def transform_rows(scores: Array, costs: Array, best: Array, moves: Array) -> None:
    """Find for each cell the best score of its row, less what it costs to come from there.

    Args:
        scores: (F, H, W) F maps.
        costs: (F, 2 * reach + 1) cost of coming from reach columns to the right to reach columns to the left.
        best: (F, H, W) to be filled.
        moves: (F, H, W) int16 to be filled with how many columns to the left the best is, of equal ones the
            first; empty leaves them out.
    """
    num_maps, height, width = scores.shape
    reach = costs.shape[1] // 2
    best[:] = -np.inf
    for part in range(num_maps):
        for y in range(height):
            for moved in range(-min(reach, width - 1), min(reach, width - 1) + 1):
                begin, end = max(moved, 0), width + min(moved, 0)
                cost = costs[part, moved + reach]
                source, own = scores[part, y, begin - moved : end - moved], best[part, y, begin:end]
                if moves.size:
                    _note(source, cost, own, moved, moves[part, y, begin:end])
                take_better(source, cost, own)


@compiled
def take_better(source: Array, cost: float, best: Array) -> None:
    """Put scores less a cost in the place of those that are not as good."""
    for x in range(len(best)):
        value = source[x] - cost
        best[x] = value if value > best[x] else best[x]


@compiled
def _note(source: Array, cost: float, best: Array, place: int, places: Array) -> None:
    for x in range(len(best)):
        if source[x] - cost >= best[x]:
            places[x] = place


@compiled
def find_place(scores: Array, row_costs: Array, column_costs: Array, y: int, x: int) -> tuple[int, int]:
    """Return row and column where the best score for one cell lies.

    Args:
        scores: (H, W) a map.
        row_costs: (2 * reach + 1,) cost of coming from another row.
        column_costs: (2 * reach + 1,) cost of coming from another column.
        y: row of the cell.
        x: its column.
    """
    height, width = scores.shape
    reach = len(row_costs) // 2
    best = scores.dtype.type(-np.inf)
    found = (y, x)
    for column in range(max(x - reach, 0), min(x + reach + 1, width)):
        best_row, most = y, scores.dtype.type(-np.inf)
        for row in range(max(y - reach, 0), min(y + reach + 1, height)):
            value = scores[row, column] - row_costs[y - row + reach]
            if value > most:
                best_row, most = row, value
        value = most - column_costs[x - column + reach]
        if value > best:
            best, found = value, (best_row, column)
    return found
