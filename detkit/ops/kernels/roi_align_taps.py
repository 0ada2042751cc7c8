"""Sampling points of RoIAlign along one axis, and the weighted sums that follow.

A bin is the mean of bilinear samples on a grid. The weight of a sample is a factor for its row times a
factor for its column, and so is its lying outside the map; therefore the mean is a weighted sum of rows
followed by one of columns. Each bin's weights along an axis, its taps, are found once for a region.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from detkit.ops.kernels.bfloat16 import narrow, widen
from detkit.runtime.compiled import compiled

Array = NDArray[Any]

_MOST_SAMPLES = 1 << 20
"""Bound of the adaptive grid, which a box far larger than any map would make endless."""


@compiled
def room_for_taps(num: int, most: int, like: Array) -> tuple[Array, Array, Array]:
    """Return cells, weights (of the type of `like`) and counts of at most `most` taps for each of `num`."""
    most = (most + 3) // 4 * 4
    return np.empty((num, most), np.int64), np.empty((num, most), like.dtype), np.empty(num, np.int64)


@compiled
def find_taps(
    low: Any, high: Any, limit: int, sampling_ratio: int, aligned: bool, taps: tuple[Array, Array, Array]
) -> tuple[int, int]:
    """Find which cells each bin weighs along one axis; return the first of them and the last plus one.

    Args:
        low: lower edge of the region in cells, of the type of the weights.
        high: upper edge of the region in cells.
        limit: cells of the map.
        sampling_ratio: samples in a bin, 0 for as many as the bin has cells.
        aligned: False makes a region at least one cell long.
        taps: room for all bins, filled with cells, weights and counts.
    """
    _, weights, counts = taps
    kind = weights.dtype.type
    bins = len(counts)
    bin_size = (high - low if aligned else max(high - low, kind(1))) / kind(bins)
    samples = sampling_ratio
    if sampling_ratio == 0:
        samples = int(min(np.ceil(bin_size), kind(_MOST_SAMPLES))) if bin_size > 0 else 0
    first, end = limit, 0
    for index in range(bins):
        counts[index] = 0
        for sample in range(samples):
            # In torchvision's order, so that rounding puts a sample inside or outside as it does there.
            at = low + kind(index) * bin_size + (kind(sample) + kind(0.5)) * bin_size / kind(samples)
            if not (at >= -1 and at <= limit):  # nor NaN
                continue
            at = min(max(at, kind(0)), kind(limit - 1))
            cell = int(at)
            share = at - kind(cell)
            _add_tap(taps, index, cell, (kind(1) - share) / kind(samples))
            if share > 0:
                _add_tap(taps, index, cell + 1, share / kind(samples))
            first, end = min(first, cell), max(end, cell + 2 if share > 0 else cell + 1)
    _pad(taps, 0, bins)
    return first, end


@compiled
def _add_tap(taps: tuple[Array, Array, Array], index: int, cell: int, weight: Any) -> None:
    """Add a weight to a cell; if the cell has a tap already, it is one of the last two."""
    cells, weights, counts = taps
    count = counts[index]
    for tap in range(max(0, count - 2), count):
        if cells[index, tap] == cell:
            weights[index, tap] += weight
            return
    cells[index, count] = cell
    weights[index, count] = weight
    counts[index] = count + 1


@compiled
def _pad(taps: tuple[Array, Array, Array], first: int, end: int) -> None:
    """Repeat a cell with weight 0 until the taps come in fours."""
    cells, weights, counts = taps
    for index in range(first, end):
        for tap in range(counts[index], (counts[index] + 3) // 4 * 4):
            cells[index, tap] = cells[index, 0]
            weights[index, tap] = 0


@compiled
def turn_taps(
    taps: tuple[Array, Array, Array], first: int, end: int, turned: tuple[Array, Array, Array]
) -> None:
    """List for each cell in [first, end) the bins that weigh it, in place of the cells of each bin."""
    cells, weights, counts = taps
    bins, bin_weights, bin_counts = turned
    bin_counts[first:end] = 0
    for index in range(len(counts)):
        for tap in range(counts[index]):
            cell = cells[index, tap]
            bins[cell, bin_counts[cell]] = index
            bin_weights[cell, bin_counts[cell]] = weights[index, tap]
            bin_counts[cell] += 1
    _pad(turned, first, end)


@compiled
def weighted_sum(
    target: Array,
    at: int,
    rows: Array,
    base: int,
    taps: tuple[Array, Array, Array],
    index: int,
    begin: int,
    end: int,
    room: Array,
) -> None:
    """Set `target[at, begin:end]` to the sum of `rows[base + cell, begin:end] * weight` over a bin's taps.

    Four taps are summed in one pass: a tap of weight 0 costs less than a loop of its own. No array is
    sliced and places are unsigned, because reference counts and looking out for negative positions take
    longer than the arithmetic, which compiles to vector instructions as it stands.
    """
    cells, weights, counts = taps
    span = range(np.uint64(begin), np.uint64(end))
    if counts[index] == 0:
        for i in span:
            target[at, i] = 0
        return
    a, b, c, d = (
        base + cells[index, 0],
        base + cells[index, 1],
        base + cells[index, 2],
        base + cells[index, 3],
    )
    wa, wb, wc, wd = weights[index, 0], weights[index, 1], weights[index, 2], weights[index, 3]
    if counts[index] <= 4:
        for i in span:
            near = wa * widen(rows[a, i]) + wb * widen(rows[b, i])
            target[at, i] = narrow(near + (wc * widen(rows[c, i]) + wd * widen(rows[d, i])), target)
        return
    for i in span:
        room[0, i] = 0
    for tap in range(0, counts[index], 4):
        a, b = base + cells[index, tap], base + cells[index, tap + 1]
        c, d = base + cells[index, tap + 2], base + cells[index, tap + 3]
        wa, wb, wc, wd = (
            weights[index, tap],
            weights[index, tap + 1],
            weights[index, tap + 2],
            weights[index, tap + 3],
        )
        for i in span:
            near = wa * widen(rows[a, i]) + wb * widen(rows[b, i])
            room[0, i] += near + (wc * widen(rows[c, i]) + wd * widen(rows[d, i]))
    for i in span:
        target[at, i] = narrow(room[0, i], target)


@compiled
def add_scaled(target: Array, at: int, row: Array, weight: Any, begin: int, end: int) -> None:
    """Add `weight * row[0, begin:end]` to `target[at, begin:end]`."""
    for i in range(np.uint64(begin), np.uint64(end)):
        target[at, i] += weight * row[0, i]
