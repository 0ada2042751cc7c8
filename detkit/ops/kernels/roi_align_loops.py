"""RoIAlign and its gradient as compiled loops over channels-last tables."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from detkit.ops.kernels.bfloat16 import narrow
from detkit.ops.kernels.roi_align_taps import add_scaled, find_taps, room_for_taps, turn_taps, weighted_sum
from detkit.runtime.compiled import compiled

Array = NDArray[Any]


@compiled
def align_regions(
    table: Array,
    boxes: Array,
    image: Array,
    sampling_ratio: int,
    aligned: bool,
    pooled: Array,
    bins: int,
    chosen: Array,
) -> None:
    """Fill the bins of the chosen regions.

    For each row of bins, the rows of the map it weighs are summed to one strip as wide as the region;
    each bin is then a sum over cells of the strip.

    Args:
        table: (B, H, W * C) feature maps.
        boxes: (R, 4) corner boxes in cells of the map; their type is that of the arithmetic.
        image: (R,) which of the B maps.
        sampling_ratio: samples along each side of a bin, 0 for as many as it has cells.
        aligned: False makes a region at least one cell wide and high.
        pooled: (R * bins * bins, C).
        bins: bins along each side.
        chosen: which of the R regions.
    """
    channels = pooled.shape[1]
    height, width = table.shape[1], table.shape[2] // channels
    rows = room_for_taps(bins, 2 * sampling_ratio if sampling_ratio > 0 else height, boxes)
    columns = room_for_taps(bins, 2 * sampling_ratio if sampling_ratio > 0 else width, boxes)
    strip = np.empty((1, width * channels), boxes.dtype)
    cells = strip.reshape((width, channels))
    room = np.empty((1, width * channels), boxes.dtype)
    for region in chosen:
        x1, y1, x2, y2 = boxes[region, 0], boxes[region, 1], boxes[region, 2], boxes[region, 3]
        find_taps(y1, y2, height, sampling_ratio, aligned, rows)
        left, right = find_taps(x1, x2, width, sampling_ratio, aligned, columns)
        source = table[image[region]]
        for row in range(bins):
            if left < right:
                weighted_sum(strip, 0, source, 0, rows, row, left * channels, right * channels, room)
            for column in range(bins):
                target = (region * bins + row) * bins + column
                weighted_sum(pooled, target, cells, 0, columns, column, 0, channels, room)


@compiled
def spread_gradient(
    grad: Array,
    boxes: Array,
    image: Array,
    own: int,
    limits: tuple[int, int],
    sampling_ratio: int,
    aligned: bool,
    total: Array,
    top: int,
    bins: int,
) -> None:
    """Sum the gradient of some rows of one image's map over all regions, in the order of the regions.

    Args:
        grad: (R * bins * bins, C) gradient of the bins.
        boxes: (R, 4) corner boxes in cells of the map; their type is that of the arithmetic.
        image: (R,) which map a region lies on.
        own: the map in question.
        limits: height and width of the map.
        sampling_ratio: samples along each side of a bin, 0 for as many as it has cells.
        aligned: False makes a region at least one cell wide and high.
        total: (rows, W * C) filled with the gradient of the rows from `top` on.
        top: first row.
        bins: bins along each side.
    """
    channels = grad.shape[1]
    height, width = limits
    rows = room_for_taps(bins, 2 * sampling_ratio if sampling_ratio > 0 else height, boxes)
    columns = room_for_taps(bins, 2 * sampling_ratio if sampling_ratio > 0 else width, boxes)
    turned = room_for_taps(width, bins, boxes)
    strip = np.empty((1, width * channels), boxes.dtype)
    cells = strip.reshape((width, channels))
    room = np.empty((1, width * channels), boxes.dtype)
    total[:] = 0
    for region in range(len(image)):
        if image[region] != own:
            continue
        x1, y1, x2, y2 = boxes[region, 0], boxes[region, 1], boxes[region, 2], boxes[region, 3]
        first, end = find_taps(y1, y2, height, sampling_ratio, aligned, rows)
        if end <= top or first >= top + len(total):
            continue
        left, right = find_taps(x1, x2, width, sampling_ratio, aligned, columns)
        turn_taps(columns, left, right, turned)
        for row in range(bins):
            ready = False
            for tap in range(rows[2][row]):
                at = rows[0][row, tap] - top
                if at < 0 or at >= len(total):
                    continue
                if not ready:
                    base = (region * bins + row) * bins
                    for cell in range(left, right):
                        weighted_sum(cells, cell, grad, base, turned, cell, 0, channels, room)
                    ready = True
                add_scaled(total, at, strip, rows[1][row, tap], left * channels, right * channels)


@compiled
def narrow_rows(total: Array, target: Array) -> None:
    """Copy numbers into an array of a narrower type."""
    for row in range(len(total)):
        for i in range(np.uint64(total.shape[1])):
            target[row, i] = narrow(total[row, i], target)
