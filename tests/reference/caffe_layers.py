"""Layers of Caffe as loops over cells: the pooling and the two norms of AlexNet's kind of network.

A pooling of n cells with padding p has 1 + ceil((n + 2p - size) / stride) windows, less the last one where
that would begin behind the map.
"""

from __future__ import annotations

import math
from itertools import product

import numpy as np
from numpy.typing import NDArray

Maps = NDArray[np.float64]


def num_windows(cells: int, size: int, stride: int, padding: int) -> int:
    number = 1 + math.ceil((cells + 2 * padding - size) / stride)
    return number - 1 if padding and (number - 1) * stride >= cells + padding else number


def max_pool(x: Maps, size: int, stride: int, padding: int) -> Maps:
    """Return the largest of each window of (B, C, H, W) maps, which may reach over the edges."""
    rows, columns = (num_windows(cells, size, stride, padding) for cells in x.shape[2:])
    pooled = np.empty((*x.shape[:2], rows, columns))
    for i, j in product(range(rows), range(columns)):
        top, left = i * stride - padding, j * stride - padding
        window = x[:, :, max(top, 0) : top + size, max(left, 0) : left + size]
        pooled[:, :, i, j] = window.max(axis=(2, 3))
    return pooled


def norm_across_channels(x: Maps, size: int, alpha: float, beta: float) -> Maps:
    """Divide by (1 + alpha / size * the sum of squares of `size` neighbouring channels) ** beta."""
    normed = np.empty_like(x)
    for channel in range(x.shape[1]):
        near = x[:, max(0, channel - size // 2) : channel + size // 2 + 1]
        normed[:, channel] = x[:, channel] / (1 + alpha / size * (near**2).sum(axis=1)) ** beta
    return normed


def norm_within_channel(x: Maps, size: int, alpha: float, beta: float) -> Maps:
    """Divide by (1 + alpha / size² * the sum of squares of the size x size cells around) ** beta.

    The sum is an average pooling with a stride of 1 and a padding of half the window, whose divisor counts
    the cells of the padding: it is size² everywhere, also at the edges.
    """
    reach = size // 2
    normed = np.empty_like(x)
    for i, j in product(range(x.shape[2]), range(x.shape[3])):
        around = x[:, :, max(0, i - reach) : i + reach + 1, max(0, j - reach) : j + reach + 1]
        total = (around**2).sum(axis=(2, 3))
        normed[:, :, i, j] = x[:, :, i, j] / (1 + alpha / size**2 * total) ** beta
    return normed
