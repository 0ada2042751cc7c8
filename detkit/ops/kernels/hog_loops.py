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
def strongest_gradients(pixels: Array, values: Array, dx: Array, dy: Array) -> None:
    """Fill in the centred differences of each pixel's channel with the longest gradient, the last of several.

    Args:
        pixels: (H + 2, W + 2, 3) uint8, with a pixel around those that are wanted.
        values: (256,) float32 that stand for a pixel's values.
        dx: (H, W) float32.
        dy: (H, W) float32.
    """
    for y in range(dx.shape[0]):
        for x in range(dx.shape[1]):
            longest = np.float32(-1)
            for channel in range(3):
                across = values[pixels[y + 1, x + 2, channel]] - values[pixels[y + 1, x, channel]]
                down = values[pixels[y + 2, x + 1, channel]] - values[pixels[y, x + 1, channel]]
                squared = across * across + down * down
                if squared >= longest:
                    longest = squared
                    dx[y, x], dy[y, x] = across, down


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
    bins = np.empty((len(magnitude), width, 2), np.uint8)
    upper = np.empty(magnitude.shape, np.float32)
    _share_among_bins(angle, num_bins, np.float32(num_bins / (2 * np.pi if signed else np.pi)), bins, upper)
    columns = np.empty((width, cells, num_bins), np.float32)
    for row in range(num_rows):
        top = row * stride
        _gather_columns(magnitude[top : top + side], bins[top : top + side], upper[top:], weights, columns)
        for column in range(num_columns):
            left = column * stride
            _gather_cells(columns[left : left + side], weights, blocks[row, column])


@compiled
def _gather_columns(magnitude: Array, bins: Array, upper: Array, weights: Array, columns: Array) -> None:
    """Sum the gradients of B rows of pixels into (W, n, bins): of each column those of n cells."""
    columns[:] = 0
    for y in range(len(magnitude)):
        for cell in range(len(weights)):
            weight = weights[cell, y]
            if weight == 0:
                continue
            for x in range(len(columns)):
                share = weight * magnitude[y, x]
                columns[x, cell, bins[y, x, 0]] += share * (np.float32(1) - upper[y, x])
                columns[x, cell, bins[y, x, 1]] += share * upper[y, x]


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
def _share_among_bins(angle: Array, num_bins: int, turn: Any, bins: Array, upper: Array) -> None:
    """Fill in the two bins next to each angle, `turn` bins a radian, and the share of the upper one."""
    for y in range(angle.shape[0]):
        for x in range(angle.shape[1]):
            place = angle[y, x] * turn - np.float32(0.5)
            below = np.floor(place)
            upper[y, x] = place - below
            bins[y, x, 0] = (int(below) + num_bins) % num_bins
            bins[y, x, 1] = (int(below) + 1) % num_bins


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
