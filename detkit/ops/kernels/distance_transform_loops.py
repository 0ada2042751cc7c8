"""Bounded distance transforms of many maps at a time, as compiled loops.

Maps lie beside one another in memory, so that a vector instruction takes a step for several of them. With the
few cells that a part may move, trying all of them so is faster than the lower envelope of parabolas, which
makes a branch at every cell.
"""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from detkit.runtime.compiled import compiled

Array = NDArray[Any]


@compiled
def transform_columns(scores: Array, costs: Array, best: Array, sources: Array) -> None:
    """Find for each cell the best score of its column, less what it costs to come from there.

    Args:
        scores: (H, W, F) F maps.
        costs: (2 * reach + 1, F) cost of coming from reach rows below to reach rows above.
        best: (H, W, F) to be filled.
        sources: (H, W, F) int16 to be filled with rows, of equal ones the first; empty leaves them out.
    """
    height, width, num_maps = scores.shape
    reach = len(costs) // 2
    for y in range(height):
        first, end = max(y - reach, 0), min(y + reach + 1, height)
        for x in range(width):
            _take_best(scores[first:end, x], costs, y - first + reach, best[y, x])
        if sources.size:
            for x in range(width):
                for place in range(num_maps):
                    for row in range(first, end):
                        if scores[row, x, place] - costs[y - row + reach, place] == best[y, x, place]:
                            sources[y, x, place] = row
                            break


@compiled
def transform_rows(scores: Array, costs: Array, best: Array, sources: Array) -> None:
    """Find for each cell the best score of its row; see `transform_columns`."""
    height, width, num_maps = scores.shape
    reach = len(costs) // 2
    for y in range(height):
        for x in range(width):
            first, end = max(x - reach, 0), min(x + reach + 1, width)
            _take_best(scores[y, first:end], costs, x - first + reach, best[y, x])
            if sources.size:
                for place in range(num_maps):
                    for column in range(first, end):
                        if scores[y, column, place] - costs[x - column + reach, place] == best[y, x, place]:
                            sources[y, x, place] = column
                            break


@compiled
def _take_best(scores: Array, costs: Array, cost: int, best: Array) -> None:
    for place in range(len(best)):
        best[place] = scores[0, place] - costs[cost, place]
    for source in range(1, len(scores)):
        for place in range(len(best)):
            value = scores[source, place] - costs[cost - source, place]
            best[place] = value if value > best[place] else best[place]
