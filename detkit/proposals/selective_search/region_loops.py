"""The compiled loops that measure regions: boxes, sizes, neighbours, histograms."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from detkit.runtime.compiled import compiled

Array = NDArray[Any]


@compiled
def measure(labels: Array, boxes: Array, sizes: Array) -> None:
    """Fill the corner boxes (R, 4) and the pixel counts (R,) of the regions of (H, W) labels, both int32."""
    boxes[:, :2] = np.iinfo(np.int32).max
    boxes[:, 2:] = 0
    sizes[:] = 0
    for y in range(labels.shape[0]):
        x = 0
        while x < labels.shape[1]:
            region, start = labels[y, x], x
            while x < labels.shape[1] and labels[y, x] == region:
                x += 1
            sizes[region] += x - start
            boxes[region, 0] = min(boxes[region, 0], start)
            boxes[region, 1] = min(boxes[region, 1], y)
            boxes[region, 2] = max(boxes[region, 2], x)
            boxes[region, 3] = y + 1


@compiled
def touching(labels: Array, num: int, opencv: bool) -> Array:
    """Return the pairs of regions that touch.

    Args:
        labels: (H, W) int32.
        num: how many regions there are.
        opencv: whether pixels left, above and above left touch, but none in the first row and column;
            otherwise left and above do.

    Returns:
        (E, 2) int32, the smaller number first, in rising order.
    """
    table = np.full(1024, -1, np.int64)
    count = 0
    first = 1 if opencv else 0
    for y in range(first, labels.shape[0]):
        for x in range(first, labels.shape[1]):
            here = labels[y, x]
            for other in range(3 if opencv else 2):
                if (other == 0 and x == 0) or (other > 0 and y == 0):
                    continue
                there = labels[y - (other > 0), x - (other != 1)]
                if there == here:
                    continue
                key = np.int64(min(here, there)) * num + max(here, there)
                if insert(table, key):
                    count += 1
                    if 2 * count > len(table):
                        table = grown(table)
    keys = np.sort(table[table >= 0])
    pairs = np.empty((count, 2), np.int32)
    pairs[:, 0], pairs[:, 1] = keys // num, keys % num
    return pairs


@compiled
def insert(table: Array, key: int) -> bool:
    """Put a key into a hash table whose length is a power of two; False if it was there."""
    mask = len(table) - 1
    slot = (np.uint64(key) * np.uint64(0x9E3779B97F4A7C15) >> np.uint64(33)) & np.uint64(mask)
    while table[slot] >= 0:
        if table[slot] == key:
            return False
        slot = (slot + np.uint64(1)) & np.uint64(mask)
    table[slot] = key
    return True


@compiled
def grown(table: Array) -> Array:
    """Return a hash table of twice the length with the same keys."""
    larger = np.full(2 * len(table), -1, np.int64)
    for key in table:
        if key >= 0:
            insert(larger, key)
    return larger


@compiled
def count_colours(planes: Array, labels: Array, bins: Array, num_bins: int, counts: Array) -> None:
    """Count the values of each plane in each region.

    Args:
        planes: (C, N) uint8.
        labels: (N,) int32.
        bins: (256,) bin of each value.
        num_bins: of a plane.
        counts: (R, C * num_bins) float32, to be added to.
    """
    for pixel in range(len(labels)):
        row = counts[labels[pixel]]
        for c in range(len(planes)):
            row[c * num_bins + bins[planes[c, pixel]]] += np.float32(1)


@compiled
def count_directions(codes: Array, labels: Array, counts: Array) -> None:
    """Count the coded gradients of each region.

    Args:
        codes: (A, N) uint8, of A axes: the bin, plus the number of bins where the gradient is negative.
        labels: (N,) int32.
        counts: (R, A, number of codes) float32, to be added to.
    """
    for pixel in range(len(labels)):
        rows = counts[labels[pixel]]
        for axis in range(len(codes)):
            rows[axis, codes[axis, pixel]] += np.float32(1)
