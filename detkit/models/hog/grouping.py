"""Grouping of the windows that one object answers to, in the two ways in which OpenCV groups them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from detkit.ops.kernels.mean_shift_loops import densities, first_of_each, move_to_peaks

Boxes = NDArray[np.int64]


def group_rectangles(
    boxes: Boxes, margins: NDArray[np.floating[Any]], more_than: int, eps: float = 0.2
) -> tuple[Boxes, NDArray[np.floating[Any]]]:
    """Return the mean box of each group of similar windows, with the best margin of the group.

    Two windows are similar where each of their four edges differ by at most eps times the mean of the lesser
    width and the lesser height; a group holds those that are similar one after the other. A group inside one
    of more windows is dropped, as is one of less than three inside any other.

    Args:
        boxes: (N, 4) corner boxes in whole pixels.
        margins: (N,).
        more_than: groups of so many windows or fewer are dropped; 0 groups nothing.
        eps: how far edges may differ.

    Returns:
        (G, 4) corner boxes in whole pixels and (G,) margins, groups in the order of their first window.

    Example:
        >>> boxes = np.array([[0, 0, 64, 128], [8, 0, 72, 128], [200, 0, 264, 128]])
        >>> group_rectangles(boxes, np.array([0.1, 0.4, 0.9]), 1)[0].tolist()
        [[4, 0, 68, 128]]
    """
    from scipy.sparse.csgraph import connected_components

    if more_than <= 0 or not len(boxes):
        return boxes, margins
    sides = boxes[:, 2:] - boxes[:, :2]
    lesser = np.minimum(sides[:, None], sides[None])
    apart = np.abs(boxes[:, None] - boxes[None]).max(axis=2)
    number, of = connected_components(apart <= eps * lesser.sum(axis=2) / 2, directed=False)
    counts = np.bincount(of, minlength=number)
    corners = np.stack([np.bincount(of, side, number) for side in boxes[:, :2].T], axis=1)
    extents = np.stack([np.bincount(of, side, number) for side in sides.T], axis=1)
    # Times the reciprocal, as in OpenCV: halves are rounded as there.
    part = (1 / counts)[:, None]
    corners, extents = np.rint(corners * part), np.rint(extents * part)
    means = np.concatenate([corners, corners + extents], axis=1).astype(np.int64)
    best = np.full(number, -np.inf, margins.dtype)
    np.maximum.at(best, of, margins)
    large = counts > more_than
    slack = np.rint(extents * eps)
    inside = (means[:, None, :2] >= (corners - slack)[None]) & (
        means[:, None, 2:] <= (corners + extents + slack)[None]
    )
    stronger = (counts[None] > counts[:, None]) | (counts < 3)[:, None]
    hidden = inside.all(axis=2) & stronger & large[None] & ~np.eye(number, dtype=bool)
    kept = large & ~hidden.any(axis=1)
    return means[kept], best[kept]


def group_by_mean_shift(
    boxes: Boxes,
    weights: NDArray[np.floating[Any]],
    scales: NDArray[np.float64],
    window: tuple[int, int],
    above: float,
) -> tuple[Boxes, NDArray[np.float32]]:
    """Return a box at each peak of the density of windows, with that density.

    Each window adds a Gaussian around its middle and the logarithm of its scale: an eighth of its sides and
    the logarithm of 1.3 are its deviations, those of OpenCV for a window of 64 x 128 pixels.

    Args:
        boxes: (N, 4) corner boxes in whole pixels.
        weights: (N,) positive; windows of others are left out.
        scales: (N,) pixels of the image that one of the window is wide.
        window: (height, width) in pixels.
        above: peaks of no greater density are dropped.

    Returns:
        (G, 4) corner boxes in whole pixels and (G,) densities, in the order of the first windows that come to
        a peak.

    Example:
        >>> boxes = np.array([[0, 0, 64, 128], [0, 0, 64, 128], [200, 0, 264, 128]])
        >>> found, density = group_by_mean_shift(boxes, np.ones(3), np.ones(3), (128, 64), 0.1)
        >>> found.tolist(), (density[0] > density[1]).item()
        ([[0, 0, 64, 128], [200, 0, 264, 128]], True)

    Reference: Dalal, Finding People in Images and Videos, PhD thesis, INPG 2006, chapter 5.
    """
    counted = weights > 0
    boxes, weights, scales = boxes[counted], weights[counted].astype(np.float64), scales[counted]
    height, width = window
    deviations = np.array([width / 8, height / 8, np.log(1.3)])
    middles = np.rint(boxes[:, :2] + (boxes[:, 2:] - boxes[:, :2]) * 0.5)
    points = np.concatenate([middles, np.log(scales)[:, None]], axis=1)
    peaks = np.empty_like(points)
    move_to_peaks(points, weights, deviations, peaks)
    peaks = peaks[first_of_each(peaks, deviations)]
    density = np.empty(len(peaks))
    densities(peaks, points, weights, deviations, density)
    peaks, density = peaks[density > above], density[density > above]
    # Middles are rounded to whole pixels, and what is found is cut to them, as in OpenCV.
    sides = (np.array([width, height]) * np.exp(peaks[:, 2:])).astype(np.int64)
    corners = (peaks[:, :2] - sides // 2).astype(np.int64)
    return np.concatenate([corners, corners + sides], axis=1), density.astype(np.float32)
