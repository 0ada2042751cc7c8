"""RoIPool and its gradient as compiled loops over channels-last tables.

As in RoIAlign's loops no array is sliced and places are unsigned, so that they compile to vector
instructions.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from detkit.ops.kernels.bfloat16 import narrow, widen
from detkit.runtime.compiled import compiled

Array = NDArray[Any]

FARTHEST = float(1 << 30)
"""Cells beyond are all the same: outside. The bound keeps every box within integers."""


@compiled
def find_bins(boxes: Array, region: int, axis: int, limit: int, begins: Array, ends: Array) -> None:
    """Find the first cell of each bin along one axis and the last plus one.

    The edges of a region are rounded, half away from zero, and belong to it both, so that it is one cell
    long at least. Bins overlap where they share a cell, and are empty where they lie outside the map.

    Args:
        boxes: (R, 4) corner boxes in cells of the map; their type is that of the arithmetic.
        region: which box.
        axis: 0 for x, 1 for y.
        limit: cells of the map.
        begins: (bins,) to be filled.
        ends: (bins,) to be filled; not above the begin of an empty bin.
    """
    kind = boxes.dtype.type
    low, high = _round_half_away(boxes[region, axis]), _round_half_away(boxes[region, axis + 2])
    bin_size = kind(max(high - low + 1, 1)) / kind(len(begins))
    for index in range(len(begins)):
        begins[index] = min(max(int(np.floor(kind(index) * bin_size)) + low, 0), limit)
        ends[index] = min(max(int(np.ceil(kind(index + 1) * bin_size)) + low, 0), limit)


@compiled
def _round_half_away(value: Any) -> int:
    size = int(np.floor(min(abs(np.float64(value)), FARTHEST) + 0.5))
    return size if value > 0 else -size


@compiled
def pool_regions(
    table: Array,
    boxes: Array,
    image: Array,
    limits: tuple[int, int],
    lowest: float,
    pooled: Array,
    bins: int,
    begin: int,
    end: int,
) -> None:
    """Fill the bins of the regions from `begin` to before `end`; an empty bin is 0.

    Args:
        table: (B * H * W, C) feature maps.
        boxes: (R, 4) corner boxes in cells of the map; their type is that of the arithmetic.
        image: (R,) which of the B maps.
        limits: height and width of the map.
        lowest: where a maximum starts, the lowest finite number of that type.
        pooled: (R * bins * bins, C).
        bins: bins along each side.
        begin: first region.
        end: last region plus one.
    """
    height, width = limits
    edges = np.empty((4, bins), np.int64)
    best = np.empty((1, table.shape[1]), boxes.dtype)
    for region in range(begin, end):
        find_bins(boxes, region, 0, width, edges[0], edges[1])
        find_bins(boxes, region, 1, height, edges[2], edges[3])
        base = image[region] * height * width
        for row in range(bins):
            for column in range(bins):
                window = (edges[2, row], edges[3, row], edges[0, column], edges[1, column])
                target = (region * bins + row) * bins + column
                _maximum(table, base, width, window, lowest, best, pooled, target)


@compiled
def _maximum(
    table: Array,
    base: int,
    width: int,
    window: tuple[int, int, int, int],
    lowest: float,
    best: Array,
    pooled: Array,
    target: int,
) -> None:
    """Set `pooled[target]` to the maximum over a window, or to 0 if it is empty."""
    top, bottom, left, right = window
    span = range(np.uint64(table.shape[1]))
    if bottom <= top or right <= left:
        for i in span:
            pooled[target, i] = 0
        return
    for i in span:
        best[0, i] = lowest
    # Four cells in one pass; where a window has an odd side, its last cells count twice.
    for y in range(top, bottom, 2):
        upper, lower = base + y * width, base + min(y + 1, bottom - 1) * width
        for x in range(left, right, 2):
            a, b = upper + x, upper + min(x + 1, right - 1)
            c, d = lower + x, lower + min(x + 1, right - 1)
            for i in span:
                most = best[0, i]
                most = widen(table[a, i]) if widen(table[a, i]) > most else most
                most = widen(table[b, i]) if widen(table[b, i]) > most else most
                most = widen(table[c, i]) if widen(table[c, i]) > most else most
                most = widen(table[d, i]) if widen(table[d, i]) > most else most
                best[0, i] = most
    for i in span:
        pooled[target, i] = narrow(best[0, i], pooled)


@compiled
def return_gradient(
    grad: Array,
    pooled: Array,
    table: Array,
    boxes: Array,
    image: Array,
    own: int,
    limits: tuple[int, int],
    total: Array,
    first: int,
    bins: int,
) -> None:
    """Sum the gradient of some channels of one image's map, bin by bin in the order of the regions.

    The first maximum of each bin, row by row, is found again: noting all of them on the way would take longer
    than looking for a value that is known.

    Args:
        grad: (R * bins * bins, C) gradient of the bins.
        pooled: (R * bins * bins, C) what `pool_regions` filled.
        table: (B * H * W, C) feature maps.
        boxes: (R, 4) corner boxes in cells of the map; their type is that of the arithmetic.
        image: (R,) which map a region lies on.
        own: the map in question.
        limits: height and width of the map.
        total: (H * W, channels) filled with the gradient of the channels from `first` on.
        first: first channel.
        bins: bins along each side.
    """
    height, width = limits
    edges = np.empty((4, bins), np.int64)
    best = np.empty((1, total.shape[1]), boxes.dtype)
    where = np.empty((1, total.shape[1]), np.int32)
    span = range(np.uint64(total.shape[1]))
    total[:] = 0
    for region in range(len(image)):
        if image[region] != own:
            continue
        find_bins(boxes, region, 0, width, edges[0], edges[1])
        find_bins(boxes, region, 1, height, edges[2], edges[3])
        for row in range(bins):
            for column in range(bins):
                window = (edges[2, row], edges[3, row], edges[0, column], edges[1, column])
                source = (region * bins + row) * bins + column
                for i in span:
                    best[0, i] = widen(pooled[source, np.uint64(first) + i])
                _find_first(table, own * height * width, width, window, first, best, where)
                for i in span:
                    if where[0, i] >= 0:
                        total[np.uint64(where[0, i]), i] += widen(grad[source, np.uint64(first) + i])


@compiled
def _find_first(
    table: Array,
    base: int,
    width: int,
    window: tuple[int, int, int, int],
    first: int,
    best: Array,
    where: Array,
) -> None:
    """Set `where` to the first cell of a window that holds each channel's best, or to -1 if there is none."""
    top, bottom, left, right = window
    span = range(np.uint64(best.shape[1]))
    for i in span:
        where[0, i] = -1
    for y in range(bottom - 1, top - 1, -1):  # backwards, so that the first one is what stays
        for x in range(right - 1, left - 1, -1):
            cell = np.int32(y * width + x)
            at = base + cell
            for i in span:
                equal = widen(table[at, np.uint64(first) + i]) == best[0, i]
                where[0, i] = cell if equal else where[0, i]
