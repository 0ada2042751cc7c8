"""Features of deformable part models, pixel by pixel and cell by cell, as the paper and its release 5 say."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

_ANGLES = [(1, 0), (0.9397, 0.342), (0.766, 0.6428), (0.5, 0.866), (0.1736, 0.9848)]
_ANGLES += [(-x, y) for x, y in reversed(_ANGLES[1:])]


def features(image: Array, cell: int) -> Array:
    """Return the (rows, columns, 32) features of an (H, W, 3) image."""
    histograms = _histograms(image.astype(float), cell)
    rows, columns = histograms.shape[:2]
    unsigned = histograms[..., :9] + histograms[..., 9:]
    energy = (unsigned**2).sum(-1)
    found = np.zeros((max(rows - 2, 0), max(columns - 2, 0), 32))
    for y in range(1, rows - 1):
        for x in range(1, columns - 1):
            clipped = []
            for down, right in ((1, 1), (-1, 1), (1, -1), (-1, -1)):
                ys, xs = sorted((y, y + down)), sorted((x, x + right))
                norm = math.sqrt(sum(energy[b, a] for b in ys for a in xs) + 1e-4)
                both = np.concatenate([histograms[y, x], unsigned[y, x]]) / norm
                clipped.append(np.minimum(both, 0.2))
            found[y - 1, x - 1, :27] = 0.5 * np.sum(clipped, axis=0)
            found[y - 1, x - 1, 27:31] = [0.2357 * part[:18].sum() for part in clipped]
    return found


def _histograms(image: Array, cell: int) -> Array:
    height, width = image.shape[:2]
    rows, columns = (math.floor(side / cell + 0.5) for side in (height, width))
    histograms = np.zeros((rows, columns, 18))
    for y in range(1, rows * cell - 1):
        for x in range(1, columns * cell - 1):
            b, a = min(y, height - 2), min(x, width - 2)
            channels = zip(image[b, a + 1] - image[b, a - 1], image[b + 1, a] - image[b - 1, a], strict=True)
            dx, dy = max(channels, key=lambda step: step[0] ** 2 + step[1] ** 2)
            dots = [dx * cos + dy * sin for cos, sin in _ANGLES]
            both = [value for dot in dots for value in (dot, -dot)]  # a direction, and its opposite
            best = both.index(max(both))
            orientation = best // 2 + 9 * (best % 2)
            for row in range(rows):
                for column in range(columns):
                    far_y = abs((y + 0.5) / cell - (row + 0.5))
                    far_x = abs((x + 0.5) / cell - (column + 0.5))
                    if far_y < 1 and far_x < 1:
                        share = (1 - far_y) * (1 - far_x)
                        histograms[row, column, orientation] += share * math.hypot(dx, dy)
    return histograms
