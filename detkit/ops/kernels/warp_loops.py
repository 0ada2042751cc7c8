"""Cutting and resizing regions as compiled loops.

Each line of the image is resized along x once, and normalised there; lines of the crop are blends of two such
lines, a step that compiles to vector instructions. The two latest lines are kept: where a region is enlarged,
most lines of the crop find theirs done.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from detkit.runtime.compiled import compiled

Array = NDArray[Any]


@compiled
def warp_regions(
    table: Array,
    starts: Array,
    strides: Array,
    sources: Array,
    places: Array,
    flipped: Array,
    mean: Array,
    gain: Array,
    out: Array,
    begin: int,
    end: int,
) -> None:
    """Fill the crops from `begin` to `end`.

    Args:
        table: (3 P,) values of all pixels, image after image.
        starts: (R,) number of each cut's first pixel.
        strides: (R,) pixels from one line of its image to the next.
        sources: (R, 2) width and height of each cut.
        places: (R, 4) x, y, width and height of what it becomes, in the crop.
        flipped: (R,) whether the crop is mirrored.
        mean: (3,) float32, taken off each pixel.
        gain: (3,) float32, factor after that.
        out: (R, S, 3 S) float32, the crops, line by line.
        begin: the first crop to fill.
        end: the one after the last.
    """
    size = out.shape[1]
    first, second = np.empty(3 * size, np.float32), np.empty(3 * size, np.float32)
    taps, share = np.empty((2, size), np.uint64), np.empty(size, np.float32)
    for crop in range(begin, end):
        width, height = sources[crop]
        x, y, wide, high = places[crop]
        left = size - x - wide if flipped[crop] else x
        _find_taps(width, wide, flipped[crop], taps, share)
        out[crop, :y] = 0
        out[crop, y + high :] = 0
        in_first, in_second = -1, -1
        for i in range(high):
            at = (i + 0.5) * height / high - 0.5
            floor = int(np.floor(at))
            upper, lower = max(floor, 0), min(floor + 1, height - 1)
            if in_first != upper:
                if in_second == upper:
                    first, second = second, first
                    in_first, in_second = in_second, in_first
                else:
                    row = table[3 * (starts[crop] + upper * strides[crop]) :]
                    _resize_line(row, taps, share, wide, mean, gain, first)
                    in_first = upper
            if in_second != lower:
                row = table[3 * (starts[crop] + lower * strides[crop]) :]
                _resize_line(row, taps, share, wide, mean, gain, second)
                in_second = lower
            line = out[crop, y + i]
            line[: 3 * left] = 0
            line[3 * (left + wide) :] = 0
            _blend(first, second, np.float32(at - floor), line[3 * left : 3 * (left + wide)])


@compiled
def _find_taps(width: int, wide: int, flipped: bool, taps: Array, share: Array) -> None:
    """Find for each column the first values of its two pixels, and the second one's share."""
    for i in range(wide):
        at = (i + 0.5) * width / wide - 0.5
        low = int(np.floor(at))
        column = wide - 1 - i if flipped else i
        share[column] = at - low
        taps[0, column], taps[1, column] = 3 * max(low, 0), 3 * min(low + 1, width - 1)


@compiled
def _resize_line(
    row: Array, taps: Array, share: Array, wide: int, mean: Array, gain: Array, line: Array
) -> None:
    # Unsigned indices are not looked at for being negative, which would take half the time.
    one, two = np.uint64(1), np.uint64(2)
    mean0, mean1, mean2 = mean
    gain0, gain1, gain2 = gain
    for j in range(wide):
        a, b, part = taps[0, j], taps[1, j], share[j]
        red, green, blue = np.float32(row[a]), np.float32(row[a + one]), np.float32(row[a + two])
        line[3 * j] = (red + (np.float32(row[b]) - red) * part - mean0) * gain0
        line[3 * j + 1] = (green + (np.float32(row[b + one]) - green) * part - mean1) * gain1
        line[3 * j + 2] = (blue + (np.float32(row[b + two]) - blue) * part - mean2) * gain2


@compiled
def _blend(first: Array, second: Array, share: Any, line: Array) -> None:
    for k in range(len(line)):
        line[k] = first[k] + (second[k] - first[k]) * share
