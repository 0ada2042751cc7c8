"""Gradients in eight directions, sorted into bins: the texture of selective search.

Four axes are 45 degrees apart, and each has two directions: what is positive counts for one of them, what
is negative for the other, and the direction that got nothing counts as a gradient of zero there.
"""

from __future__ import annotations

from math import sqrt

import numpy as np
from numpy.typing import NDArray

from detkit.proposals.selective_search.segmentation import gaussian
from detkit.proposals.selective_search.segmentation_loops import convolve, inside
from detkit.runtime.compiled import compiled

NUM_BINS = 10
NUM_AXES = 4
SIGMA = 0.8
LARGEST = 0.43
"""Response of the Gaussian derivative to a step from 0 to 1: the value in the middle of the last bin."""


def gradient_codes(plane: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the binned derivative of a Gaussian along four axes.

    Args:
        plane: (H, W).

    Returns:
        (4, H, W) uint8: the bin of the size, 0 to 9, plus 10 where the derivative is negative, for the
        axes right, down-right, down and down-left.

    Example:
        >>> step = np.array([[0, 0, 0, 255, 255, 255]], np.uint8)
        >>> gradient_codes(step)[0]
        array([[0, 1, 9, 9, 1, 0]], dtype=uint8)
    """
    radius = 4
    blur = gaussian(SIGMA, radius)
    slope = (blur * np.arange(-radius, radius + 1) / SIGMA**2 / 255).astype(np.float32)
    across, down = np.empty((2, *plane.shape), dtype=np.float32)
    convolve(plane, blur, slope, False, across)
    convolve(plane, slope, blur, False, down)
    codes = np.empty((NUM_AXES, *plane.shape), dtype=np.uint8)
    code_gradients(across, down, codes)
    return codes


@compiled
def code_gradients(across: NDArray[np.float32], down: NDArray[np.float32], codes: NDArray[np.uint8]) -> None:
    """Fill (4, H, W) codes from the two derivatives (H, W)."""
    scale = np.float32((NUM_BINS - 1) / LARGEST)
    diagonal = np.float32(scale / sqrt(2.0))
    for y in range(across.shape[0]):
        for x in range(across.shape[1]):
            right, below = across[y, x], down[y, x]
            for axis in range(NUM_AXES):
                if axis == 0:
                    value = right * scale
                elif axis == 1:
                    value = (right + below) * diagonal
                elif axis == 2:
                    value = below * scale
                else:
                    value = (below - right) * diagonal
                bin_ = min(int(abs(value) + np.float32(0.5)), NUM_BINS - 1)
                codes[axis, y, x] = bin_ + (NUM_BINS if value < 0 else 0)


def scharr_codes(plane: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return what OpenCV's selective search takes as texture: Scharr derivatives along four axes, binned.

    Each direction is stretched over its own range in the image. Negative derivatives keep their sign when
    they are stretched, so that the steepest are in bin 0 and what is not negative is in bin 9. OpenCV
    turns the image by 45 degrees for the diagonals; here their kernel is applied directly.

    Args:
        plane: (H, W).

    Returns:
        (4, H, W) uint8, coded as by `gradient_codes`.

    Example:
        >>> scharr_codes(np.array([[0, 0, 255, 255]], np.uint8))[0]
        array([[0, 9, 9, 0]], dtype=uint8)
    """
    values = np.empty((NUM_AXES, *plane.shape), dtype=np.float32)
    scharr(plane, values)
    codes = np.empty(values.shape, dtype=np.uint8)
    for axis in range(NUM_AXES):
        low, high = min(float(values[axis].min()), 0.0), max(float(values[axis].max()), 0.0)
        code_stretched(values[axis], low, high, codes[axis])
    return codes


@compiled
def scharr(plane: NDArray[np.uint8], values: NDArray[np.float32]) -> None:
    """Fill (4, H, W) with derivatives along the axes right, down-right, down and down-left."""
    height, width = plane.shape
    # The kernel's points, turned by 45 degrees and put between pixels bilinearly.
    near, side, far = np.float32(5.0), np.float32(3.8284), np.float32(1.2426)
    padded = np.empty((height + 4, width + 4), np.float32)
    for y in range(height + 4):
        source = plane[inside(y - 2, height, True)]
        for x in range(width + 4):
            padded[y, x] = source[inside(x - 2, width, True)]
    for y in range(height):
        top, up, row, low, end = padded[y], padded[y + 1], padded[y + 2], padded[y + 3], padded[y + 4]
        for x in range(width):
            h = x + 2
            corner, turned = low[h + 1] - up[h - 1], low[h - 1] - up[h + 1]
            right, below = row[h + 1] - row[h - 1], low[h] - up[h]
            wide, tall = row[h + 2] - row[h - 2], end[h] - top[h]
            values[0, y, x] = 10 * right + 3 * (corner - turned)
            values[1, y, x] = near * corner + side * (right + below) + far * (wide + tall)
            values[2, y, x] = 10 * below + 3 * (corner + turned)
            values[3, y, x] = near * turned + side * (below - right) + far * (tall - wide)


@compiled
def code_stretched(values: NDArray[np.float32], low: float, high: float, codes: NDArray[np.uint8]) -> None:
    """Fill (H, W) codes from derivatives that range from `low` to `high`."""
    up = np.float32(255.0 / high if high > 0 else 0.0)
    down = np.float32(-255.0 / low if low < 0 else 0.0)
    for y in range(values.shape[0]):
        for x in range(values.shape[1]):
            value = values[y, x]
            if value < 0:
                byte = np.rint((value - np.float32(low)) * down)
                codes[y, x] = np.uint8(byte * np.float32(NUM_BINS / 256)) + NUM_BINS
            else:
                codes[y, x] = np.uint8(np.rint(value * up) * np.float32(NUM_BINS / 256))
