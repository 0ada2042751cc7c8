"""Features of deformable part models: histograms of gradients in cells, 31 channels and one for truncation.

Felzenszwalb, Girshick, McAllester and Ramanan, "Object Detection with Discriminatively Trained Part Based
Models", PAMI 2010, section 6; in the order and with the constants of the authors' release 5.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from detkit.ops.kernels.dpm_feature_loops import (
    CHANNELS,
    NUM_SIGNED,
    fill_features,
    fill_histograms,
    find_gradients,
)

Array = NDArray[Any]

MIRRORED = np.array(
    [*range(9, -1, -1), *range(17, 9, -1), 18, *range(26, 18, -1), 29, 30, 27, 28, CHANNELS - 1]
)
"""(32,) the channel that each becomes where an image is mirrored from left to right."""

_SMALLEST_PX = 3  # an image of fewer pixels has no gradient


def dpm_features(image: Array, *cells_px: int) -> list[NDArray[np.float32]]:
    """Return the features of an image in cells of each size.

    Channels 0 to 17 are orientations of a full turn, 18 to 26 of half a turn, 27 to 30 measure texture, and
    31 tells cells outside the image: it is 0 here and 1 where a map is padded. The outermost cells are
    left out.

    Args:
        image: (H, W, 3) RGB from 0 to 255, integers or float64.
        cells_px: side of a cell in pixels, one after the other.

    Returns:
        For each a map (rows, columns, 32) of round(H / cell) - 2 rows and round(W / cell) - 2 columns, none
        where that is less than one.

    Example:
        >>> [features] = dpm_features(np.zeros((40, 64, 3), np.uint8), 8)
        >>> features.shape, float(features.max())
        ((3, 6, 32), 0.0)
    """
    height, width = image.shape[:2]
    bins, lengths = np.empty((height, width), np.uint8), np.empty((height, width))
    if min(height, width) >= _SMALLEST_PX:
        find_gradients(image, bins, lengths)
    return [_in_cells(bins, lengths, cell) for cell in cells_px]


def _in_cells(bins: Array, lengths: Array, cell: int) -> NDArray[np.float32]:
    height, width = bins.shape
    rows, columns = rounded(height / cell), rounded(width / cell)
    features = np.zeros((max(rows - 2, 0), max(columns - 2, 0), CHANNELS), np.float32)
    if min(height, width) >= _SMALLEST_PX and features.size:
        histograms = np.zeros((rows + 2, columns + 2, NUM_SIGNED), np.float32)
        fill_histograms(bins, lengths, cell, histograms)
        fill_features(histograms[1:-1, 1:-1], np.empty((rows, columns), np.float32), features)
    return features


def rounded(value: float) -> int:
    """Return the nearest integer to a number that is not negative, of two the greater one.

    Example:
        >>> [rounded(value) for value in (0.4, 0.5, 1.5, 2.5)]
        [0, 1, 2, 3]
    """
    return int(np.floor(value + 0.5))
