"""Making an image smaller by the mean of the area under each new pixel, as a compiled loop."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from detkit.runtime.compiled import compiled

Array = NDArray[Any]

_LEAST = 1e-3  # of a pixel; a smaller part of one does not count


@compiled
def shrink_rows(image: Array, smaller: Array) -> None:
    """Fill each row of a smaller image with the weighted rows that it covers.

    Args:
        image: (n, W, C) numbers; read as float64.
        smaller: (m, W, C) float64 zeros, m at most n.
    """
    old, new = len(image), len(smaller)
    step, weight = old / new, new / old
    for row in range(new):
        start = row * step
        end = start + step
        first, last = int(np.ceil(start)), int(np.floor(end))
        if first - start > _LEAST:
            _add(image[first - 1], (first - start) * weight, smaller[row])
        for whole in range(first, last):
            _add(image[whole], weight, smaller[row])
        if end - last > _LEAST:
            _add(image[last], (end - last) * weight, smaller[row])


@compiled
def _add(row: Array, weight: float, total: Array) -> None:
    for x in range(row.shape[0]):
        for channel in range(row.shape[1]):
            total[x, channel] += weight * np.float64(row[x, channel])


@compiled
def shrink_columns(image: Array, smaller: Array) -> None:
    """Fill each column of a smaller image with the weighted columns that it covers; see `shrink_rows`.

    Args:
        image: (H, n, C) numbers.
        smaller: (H, m, C) float64 zeros, m at most n.
    """
    old, new = image.shape[1], smaller.shape[1]
    step, weight = old / new, new / old
    for y in range(len(image)):
        for column in range(new):
            start = column * step
            end = start + step
            first, last = int(np.ceil(start)), int(np.floor(end))
            for channel in range(image.shape[2]):
                total = 0.0
                if first - start > _LEAST:
                    total += (first - start) * weight * image[y, first - 1, channel]
                for whole in range(first, last):
                    total += weight * image[y, whole, channel]
                if end - last > _LEAST:
                    total += (end - last) * weight * image[y, last, channel]
                smaller[y, column, channel] = total
