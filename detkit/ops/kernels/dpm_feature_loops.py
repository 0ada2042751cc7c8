"""Features of deformable part models as compiled loops: gradients, their histograms in cells, and norms.

Gradients are taken once for all sizes of cells that an image of a pyramid is read in. Pixels are added to the
four cells around them row by row; where a pixel of a row lies is the same in all rows and is worked out once.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from detkit.runtime.compiled import compiled

Array = NDArray[Any]

NUM_SIGNED = 18  # orientations in a full turn
CHANNELS = 32  # signed, unsigned, four of texture, and whether a cell lies outside the image
_HALF = 9
_EPSILON = 1e-4
_MOST = np.float32(0.2)
_TEXTURE = 0.2357
# Cosine and sine of multiples of 20 degrees, in the four digits that published models were trained with.
_COS = np.array([1.0, 0.9397, 0.766, 0.5, 0.1736, -0.1736, -0.5, -0.766, -0.9397])
_SIN = np.array([0.0, 0.342, 0.6428, 0.866, 0.9848, 0.9848, 0.866, 0.6428, 0.342])


@compiled
def find_gradients(image: Array, bins: Array, lengths: Array) -> None:
    """Find orientation and length of the strongest channel's gradient in each pixel but those of the border.

    Args:
        image: (H, W, 3) numbers.
        bins: (H, W) uint8 to be filled with orientations, 0 to 17.
        lengths: (H, W) float64 to be filled.
    """
    height, width = image.shape[:2]
    rows = np.empty((3, 3, width))  # the last three rows that were read, each channel by itself
    dx, dy, found = np.empty(width - 2), np.empty(width - 2), np.empty(width - 2)
    for y in range(height):
        for channel in range(3):
            row = rows[y % 3, channel]
            for x in range(width):
                row[x] = image[y, x, channel]
        if y >= 2:
            power, own_bins = lengths[y - 1, 1 : width - 1], bins[y - 1, 1 : width - 1]
            for channel in range(3):
                here = rows[(y + 2) % 3, channel]
                above, below = rows[(y + 1) % 3, channel], rows[y % 3, channel]
                _keep_stronger(here[:-2], here[2:], above[1:-1], below[1:-1], dx, dy, power, channel == 0)
            _find_bins(dx, dy, found)
            for x in range(width - 2):
                own_bins[x] = int(found[x])
                power[x] = np.sqrt(power[x])


@compiled
def _keep_stronger(
    left: Array, right: Array, above: Array, below: Array, dx: Array, dy: Array, power: Array, first: bool
) -> None:
    # No index but that of the loop: Numba would ask of any other whether it is negative, at every pixel.
    if first:
        power[:] = -1
    for x in range(len(power)):
        across, down = right[x] - left[x], below[x] - above[x]
        own = across * across + down * down
        stronger = own > power[x]
        power[x] = own if stronger else power[x]
        dx[x] = across if stronger else dx[x]
        dy[x] = down if stronger else dy[x]


@compiled
def _find_bins(dx: Array, dy: Array, found: Array) -> None:
    for x in range(len(dx)):
        most, orientation = 0.0, 0.0
        for half in range(_HALF):
            along = _COS[half] * dx[x] + _SIN[half] * dy[x]
            size, own = abs(along), float(half) if along > 0 else float(half + _HALF)
            orientation = own if size > most else orientation
            most = size if size > most else most
        found[x] = orientation


@compiled
def fill_histograms(bins: Array, lengths: Array, cell: int, histograms: Array) -> None:
    """Add each gradient to the four cells around its pixel, weighted by how near their centres are.

    Args:
        bins: (H, W) from `find_gradients`; H and W at least 3.
        lengths: (H, W) likewise.
        cell: pixels of a side of a cell.
        histograms: (rows + 2, columns + 2, 18) float32 zeros: a border of cells takes what falls outside.
            Where cells reach beyond the image, its last gradients are taken again.
    """
    height, width = bins.shape
    rows, columns = histograms.shape[0] - 2, histograms.shape[1] - 2
    lefts, shares = np.empty(columns * cell, np.int64), np.empty(columns * cell)
    for x in range(columns * cell):
        column = (x + 0.5) / cell + 0.5
        lefts[x] = int(np.floor(column))
        shares[x] = column - lefts[x]
    line = np.empty((columns + 2, NUM_SIGNED), np.float32)
    for y in range(1, rows * cell - 1):
        line[:] = 0
        own_bins, own_lengths = bins[min(y, height - 2)], lengths[min(y, height - 2)]
        for x in range(1, columns * cell - 1):
            place = min(x, width - 2)
            orientation, length, left = own_bins[place], own_lengths[place], lefts[x]
            right = shares[x] * length
            line[left, orientation] += np.float32(length - right)
            line[left + 1, orientation] += np.float32(right)
        row = (y + 0.5) / cell + 0.5
        top = int(np.floor(row))
        below = np.float32(row - top)
        _add_line(line.reshape(-1), np.float32(1) - below, histograms[top].reshape(-1))
        _add_line(line.reshape(-1), below, histograms[top + 1].reshape(-1))


@compiled
def _add_line(line: Array, share: Any, histograms: Array) -> None:
    for k in range(len(line)):
        histograms[k] += share * line[k]


@compiled
def fill_features(histograms: Array, energies: Array, features: Array) -> None:
    """Normalise histograms by the energy of the four blocks of 2 x 2 cells around each cell.

    Args:
        histograms: (rows, columns, 18) float32.
        energies: (rows, columns) float32 scratch memory.
        features: (rows - 2, columns - 2, 32) float32 to be filled, but for the last channel.
    """
    rows, columns = histograms.shape[:2]
    for y in range(rows):
        for x in range(columns):
            energy = np.float32(0)
            for half in range(_HALF):
                both = histograms[y, x, half] + histograms[y, x, half + _HALF]
                energy += both * both
            energies[y, x] = energy
    for y in range(1, rows - 1):
        for x in range(1, columns - 1):
            norms = (
                _norm(energies, y, x),
                _norm(energies, y - 1, x),
                _norm(energies, y, x - 1),
                _norm(energies, y - 1, x - 1),
            )
            _normalise(histograms[y, x], norms, features[y - 1, x - 1])


@compiled
def _norm(energies: Array, top: int, left: int) -> Any:
    energy = energies[top, left] + energies[top + 1, left]
    energy += energies[top, left + 1] + energies[top + 1, left + 1]
    return np.float32(1.0 / np.sqrt(energy + _EPSILON))


@compiled
def _normalise(histogram: Array, norms: tuple[Any, Any, Any, Any], features: Array) -> None:
    # Each block by itself and no arrays between: all stays in registers.
    first, second, third, fourth = norms
    textures = np.float32(0), np.float32(0), np.float32(0), np.float32(0)
    for signed in range(NUM_SIGNED):
        value = histogram[signed]
        each = _cut(value * first), _cut(value * second), _cut(value * third), _cut(value * fourth)
        features[signed] = np.float32(0.5) * (each[0] + each[1] + each[2] + each[3])
        textures = (
            textures[0] + each[0],
            textures[1] + each[1],
            textures[2] + each[2],
            textures[3] + each[3],
        )
    for half in range(_HALF):
        value = histogram[half] + histogram[half + _HALF]
        total = _cut(value * first) + _cut(value * second) + _cut(value * third) + _cut(value * fourth)
        features[NUM_SIGNED + half] = np.float32(0.5) * total
    for block in range(4):
        features[NUM_SIGNED + _HALF + block] = textures[block] * _TEXTURE


@compiled
def _cut(value: Any) -> Any:
    return value if value < _MOST else _MOST
