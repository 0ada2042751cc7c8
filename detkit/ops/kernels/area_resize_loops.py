"""Making an image up to twice smaller by the mean of the area under each new pixel, as a compiled loop.

A new row is summed in memory that stays in the cache, and its columns are taken from there: an image between
the two would be larger than both.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from detkit.runtime.compiled import compiled

Array = NDArray[Any]

_LEAST = 1e-3  # of a pixel; a smaller part of one does not count
_COVERED = 3  # pixels that a new one touches at most


@compiled
def shrink_image(image: Array, smaller: Array) -> None:
    """Fill a smaller image with the weighted pixels that each of its own covers.

    Args:
        image: (H, W, 3) numbers; read as float64.
        smaller: (h, w, 3) float64 to be filled; h and w at least half of H and W, and no more than these.
    """
    rows, downs = _covered(image.shape[0], smaller.shape[0])
    columns, acrosses = _covered(image.shape[1], smaller.shape[1])
    flat, total = image.reshape(len(image), -1), np.empty(3 * image.shape[1])
    for y in range(len(smaller)):
        first, second, third = rows[y]
        _add_rows(flat[first], flat[second], flat[third], downs[y], total)
        _add_columns(total, columns, acrosses, smaller[y])


@compiled
def _covered(old: int, new: int) -> tuple[Array, Array]:
    """Return the (new, 3) pixels of `old` ones that each new one touches, and their weights."""
    places, weights = np.empty((new, _COVERED), np.int64), np.zeros((new, _COVERED))
    step, weight = old / new, new / old
    for one in range(new):
        start = one * step
        end = start + step
        first, last = int(np.ceil(start)), int(np.floor(end))
        begin = first - int(first - start > _LEAST)
        for tap in range(_COVERED):
            place = begin + tap
            places[one, tap] = min(place, old - 1)
            if place < first:
                weights[one, tap] = (first - start) * weight
            elif place < last:
                weights[one, tap] = weight
            elif place == last and end - last > _LEAST:
                weights[one, tap] = (end - last) * weight
    return places, weights


@compiled
def _add_rows(first: Array, second: Array, third: Array, weights: Array, total: Array) -> None:
    upper, middle, lower = weights
    for x in range(len(total)):
        total[x] = upper * first[x] + middle * second[x] + lower * third[x]


@compiled
def _add_columns(total: Array, columns: Array, weights: Array, row: Array) -> None:
    for x in range(len(row)):
        first, second, third = 3 * columns[x, 0], 3 * columns[x, 1], 3 * columns[x, 2]
        left, middle, right = weights[x]
        for channel in range(3):
            row[x, channel] = (
                left * total[first + channel]
                + middle * total[second + channel]
                + right * total[third + channel]
            )
