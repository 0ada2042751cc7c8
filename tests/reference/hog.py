"""HOG pixel by pixel, block by block, from the paper and OpenCV's documented parameters; slow."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

CELL, BLOCK, BINS = 8, 16, 9


def mirrored(place: int, length: int) -> int:
    """Return the pixel that stands for one outside; the outermost is not repeated."""
    while not 0 <= place < length:
        place = -place if place < 0 else 2 * (length - 1) - place
    return place


def gradient(pixels: NDArray[np.uint8], x: int, y: int, *, gamma: bool) -> tuple[float, float]:
    """Return the centred difference of the channel with the longest gradient, the last of several."""
    height, width, _ = pixels.shape

    def value(column: int, row: int, channel: int) -> float:
        raw = float(pixels[mirrored(row, height), mirrored(column, width), channel])
        return math.sqrt(raw) if gamma else raw

    each = [
        (
            value(x + 1, y, channel) - value(x - 1, y, channel),
            value(x, y + 1, channel) - value(x, y - 1, channel),
        )
        for channel in (2, 1, 0)
    ]
    return max(each, key=lambda vector: vector[0] ** 2 + vector[1] ** 2)


def block(
    pixels: NDArray[np.uint8], left: int, top: int, *, signed: bool = False, gamma: bool = True
) -> NDArray[Any]:
    """Return the normalised block that begins at a pixel: cells by columns, bins of each."""
    cells = np.zeros((2, 2, BINS))
    bin_width = (2 * math.pi if signed else math.pi) / BINS
    for j in range(BLOCK):
        for i in range(BLOCK):
            dx, dy = gradient(pixels, left + i, top + j, gamma=gamma)
            weight = math.hypot(dx, dy) * math.exp(-((i - 8) ** 2 + (j - 8) ** 2) / (2 * 4.0**2))
            angle = math.atan2(dy, dx) % (BINS * bin_width)
            for k in range(BINS):
                # Distance around the circle to the middle of the bin, in bins.
                apart = abs(angle / bin_width - (k + 0.5))
                apart = min(apart, BINS - apart)
                for across in range(2):
                    for down in range(2):
                        share = (
                            max(0.0, 1 - apart)
                            * max(0.0, 1 - abs((i + 0.5) / CELL - (across + 0.5)))
                            * max(0.0, 1 - abs((j + 0.5) / CELL - (down + 0.5)))
                        )
                        cells[across, down, k] += weight * share
    vector = cells.ravel()
    vector = np.minimum(vector / (np.linalg.norm(vector) + 0.1 * len(vector)), 0.2)
    return vector / (np.linalg.norm(vector) + 1e-3)
