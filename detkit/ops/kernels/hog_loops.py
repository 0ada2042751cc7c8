"""Histograms of oriented gradients as compiled loops.

A pixel's share in a cell is a product of a weight down and a weight across the block, of position and of the
Gaussian alike. So columns are gathered first, for each row of blocks, and cells out of the columns: a third
of the additions of a loop over the pixels of every block. `benchmarks/hog.py` compares it with OpenCV.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from detkit.runtime.compiled import compiled

Array = NDArray[Any]


@compiled
def strongest_gradients(red: Array, green: Array, blue: Array, dx: Array, dy: Array) -> None:
    """Fill in the centred differences of each pixel's channel with the longest gradient, the last of several.

    Args:
        red: (H + 2, W + 2) float32, with a pixel around those that are wanted, as the other channels.
        green: likewise.
        blue: likewise.
        dx: (H, W) float32.
        dy: (H, W) float32.
    """
    for y in range(dx.shape[0]):
        for x in range(dx.shape[1]):
            across, down = red[y + 1, x + 2] - red[y + 1, x], red[y + 2, x + 1] - red[y, x + 1]
            longest = across * across + down * down
            right, below = green[y + 1, x + 2] - green[y + 1, x], green[y + 2, x + 1] - green[y, x + 1]
            squared = right * right + below * below
            across, down = (right, below) if squared >= longest else (across, down)
            longest = max(longest, squared)
            right, below = blue[y + 1, x + 2] - blue[y + 1, x], blue[y + 2, x + 1] - blue[y, x + 1]
            squared = right * right + below * below
            dx[y, x] = right if squared >= longest else across
            dy[y, x] = below if squared >= longest else down


@compiled
def block_histograms(
    magnitude: Array, angle: Array, num_bins: int, signed: bool, weights: Array, stride: int, blocks: Array
) -> None:
    """Fill in the histograms of each block's cells, not yet normalised.

    A gradient is divided between the two bins whose middles are nearest to its angle, and between the cells
    of a block by their weights.

    Args:
        magnitude: (H, W) float32.
        angle: (H, W) float32 in radians, at least 0 and at most twice pi.
        num_bins: bins of a cell.
        signed: whether they divide the whole circle; otherwise opposite directions are one.
        weights: (n, B) float32 for each of a block's n cells along a side, of its B pixels.
        stride: pixels from block to block.
        blocks: (rows, columns, n, n, bins) float32, filled with those of cells, across before down.
    """
    num_rows, num_columns, cells = blocks.shape[0], blocks.shape[1], len(weights)
    side, width = weights.shape[1], magnitude.shape[1]
    bins = np.empty((len(magnitude), width), np.uint8)
    upper = np.empty(magnitude.shape, np.float32)
    _share_among_bins(angle, num_bins, np.float32(num_bins / (2 * np.pi if signed else np.pi)), bins, upper)
    # A bin more, which is the first once more, so that the upper one is always next to the lower.
    columns = np.empty((width, cells, num_bins + 1), np.float32)
    for row in range(num_rows):
        columns[:] = 0
        for offset in range(side):
            y = row * stride + offset
            for cell in range(cells):
                if weights[cell, offset] > 0:
                    _add_row(magnitude[y], bins[y], upper[y], weights[cell, offset], columns[:, cell])
        columns[:, :, 0] += columns[:, :, num_bins]
        for column in range(num_columns):
            left = column * stride
            _gather_cells(columns[left : left + side], weights, blocks[row, column])


@compiled
def _share_among_bins(angle: Array, num_bins: int, turn: Any, bins: Array, upper: Array) -> None:
    """Fill in the lower of two bins next to each angle, `turn` bins a radian, and the share of the upper."""
    for y in range(angle.shape[0]):
        for x in range(angle.shape[1]):
            place = angle[y, x] * turn + np.float32(num_bins - 0.5)
            below = int(place)  # of a positive number the largest whole one that is not above it
            upper[y, x] = place - np.float32(below)
            below = below if below < num_bins else below - num_bins
            bins[y, x] = below if below < num_bins else below - num_bins


@compiled
def _add_row(magnitude: Array, bins: Array, upper: Array, weight: Any, columns: Array) -> None:
    """Add the gradients of a row of pixels, times a weight, to the (W, bins + 1) of its columns."""
    for x in range(len(magnitude)):
        share = weight * magnitude[x]
        above = share * upper[x]
        column = columns[x]
        column[bins[x]] += share - above
        column[bins[x] + np.uint8(1)] += above


@compiled
def _gather_cells(columns: Array, weights: Array, block: Array) -> None:
    """Sum B columns, (B, n, bins), into the (n, n, bins) cells of a block."""
    block[:] = 0
    for across in range(len(weights)):
        for x in range(len(columns)):
            weight = weights[across, x]
            if weight == 0:
                continue
            for down in range(block.shape[1]):
                for k in range(block.shape[2]):
                    block[across, down, k] += weight * columns[x, down, k]


@compiled
def normalise_blocks(blocks: Array, limit: Any) -> None:
    """Bring vectors to length 1, cut values above a limit, and bring them to length 1 again.

    Args:
        blocks: (N, D) float32, changed in place.
        limit: float32.
    """
    for block in blocks:
        total = np.float32(0)
        for value in block:
            total += value * value
        scale = np.float32(1) / (np.sqrt(total) + np.float32(0.1) * np.float32(len(block)))
        total = np.float32(0)
        for k in range(len(block)):
            block[k] = min(block[k] * scale, limit)
            total += block[k] * block[k]
        scale = np.float32(1) / (np.sqrt(total) + np.float32(1e-3))
        for k in range(len(block)):
            block[k] *= scale


@compiled
def add_shifted(planes: Array, total: Array) -> None:
    """Add to each window what each of its blocks scores where it lies.

    Args:
        planes: (h, w, R, C) float32 scores of each of a window's blocks at all blocks of an image.
        total: (R - h + 1, C - w + 1) float32 of windows.
    """
    for y in range(total.shape[0]):
        for down in range(planes.shape[0]):
            for right in range(planes.shape[1]):
                _add(planes[down, right, y + down, right : right + total.shape[1]], total[y])


@compiled
def _add(line: Array, total: Array) -> None:
    for x in range(len(total)):
        total[x] += line[x]
