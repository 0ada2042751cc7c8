"""Filters on histograms of gradients as pictures: a stroke for each orientation of each cell."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

ORIENTATIONS = 9  # of half a turn, in the features of deformable part models
_ANGLES: Array = np.arange(ORIENTATIONS) * np.pi / ORIENTATIONS


def hog_picture(weights: Array, cell_px: int, angles: Array = _ANGLES) -> NDArray[np.float64]:
    """Return how strongly a filter looks for edges: (rows * cell_px, columns * cell_px) sums of strokes.

    A stroke lies along the edge, across the gradient that the weight belongs to.

    Args:
        weights: (rows, columns, N) weights, none below 0, of the gradients of each orientation.
        cell_px: side of a cell.
        angles: (N,) orientations in radians, from the x-axis to the y-axis, which points down.

    Example:
        >>> vertical = np.zeros((1, 1, 9))
        >>> vertical[..., 0] = 1
        >>> hog_picture(vertical, 5).round(1).tolist()[2]
        [0.0, 0.0, 1.0, 0.0, 0.0]
    """
    rows, columns, _ = weights.shape
    picture: Array = np.einsum("rco,oyx->rycx", weights, _strokes(cell_px, angles))
    return picture.reshape(rows * cell_px, columns * cell_px)


def _strokes(cell_px: int, angles: Array) -> NDArray[np.float64]:
    """Return (N, cell_px, cell_px) strokes, from 0 to 1, through the middle of a cell."""
    y, x = np.mgrid[:cell_px, :cell_px] - (cell_px - 1) / 2
    cosines, sines = np.cos(angles)[:, None, None], np.sin(angles)[:, None, None]
    across, along = np.abs(x * cosines + y * sines), np.abs(y * cosines - x * sines)
    thick, long = max(1.0, cell_px / 6), cell_px - 1.0
    strokes = np.clip((thick + 1) / 2 - across, 0, 1) * np.clip((long + 1) / 2 - along, 0, 1)
    return np.asarray(strokes, np.float64)
