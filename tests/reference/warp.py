"""R-CNN's crop of one region, step by step, in the coordinates of its paper: pixels counted from 1."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray


def half_away(value: float) -> int:
    return int(math.copysign(math.floor(abs(value) + 0.5), value))


def resized(image: NDArray[np.float64], height: int, width: int) -> NDArray[np.float64]:
    """Bilinear, pixel centres aligned, edges repeated, no anti-aliasing."""
    out = np.zeros((height, width, 3))
    for i in range(height):
        for j in range(width):
            y = (i + 0.5) * image.shape[0] / height - 0.5
            x = (j + 0.5) * image.shape[1] / width - 0.5
            for dy in (0, 1):
                for dx in (0, 1):
                    v, u = math.floor(y) + dy, math.floor(x) + dx
                    weight = (1 - abs(y - v)) * (1 - abs(x - u))
                    v, u = min(max(v, 0), image.shape[0] - 1), min(max(u, 0), image.shape[1] - 1)
                    out[i, j] += weight * image[v, u]
    return out


def crop(
    image: NDArray[np.uint8],
    box: tuple[float, float, float, float],
    size: int,
    context_px: int,
    square: bool,
    flip: bool,
    mean: tuple[float, float, float],
) -> NDArray[np.float64]:
    """The crop of an inclusive box (x1, y1, x2, y2), first pixel (1, 1), minus the mean."""
    x1, y1, x2, y2 = box
    scale = size / (size - 2 * context_px)
    half_h, half_w = (y2 - y1 + 1) / 2, (x2 - x1 + 1) / 2
    cx, cy = x1 + half_w, y1 + half_h
    if square:
        half_h = half_w = max(half_h, half_w)
    left, right = half_away(cx - half_w * scale), half_away(cx + half_w * scale)
    top, bottom = half_away(cy - half_h * scale), half_away(cy + half_h * scale)
    full_w, full_h = right - left + 1, bottom - top + 1
    pad_x, pad_y = max(0, 1 - left), max(0, 1 - top)
    left, top = max(1, left), max(1, top)
    right, bottom = min(image.shape[1], right), min(image.shape[0], bottom)
    crop_w = half_away((right - left + 1) * size / full_w)
    crop_h = half_away((bottom - top + 1) * size / full_h)
    pad_x, pad_y = half_away(pad_x * size / full_w), half_away(pad_y * size / full_h)
    crop_w, crop_h = min(crop_w, size - pad_x), min(crop_h, size - pad_y)
    window = image[top - 1 : bottom, left - 1 : right].astype(np.float64)
    out = np.zeros((size, size, 3))
    out[pad_y : pad_y + crop_h, pad_x : pad_x + crop_w] = resized(window, crop_h, crop_w) - np.array(mean)
    return out[:, ::-1] if flip else out
