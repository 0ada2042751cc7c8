"""Star models found by trying every place of every part of every root, as the paper and release 5 say."""

from __future__ import annotations

import itertools
import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

MIRRORED_BINS = [(9 - o) % 18 for o in range(18)], [(9 - o) % 9 for o in range(9)]
REACH = 4


class Placement(NamedTuple):
    """Where a model was found."""

    score: float
    component: int
    level: int
    y: int
    x: int
    parts: list[tuple[int, int]]


class StarModel(NamedTuple):
    """A component; see `detkit.detectors.dpm.stars.Component`."""

    root: Array
    parts: list[Array]
    anchors: list[tuple[int, int]]
    deformations: list[tuple[float, float, float, float]]
    offset: float
    location: tuple[float, float, float]

    def mirrored(self) -> StarModel:
        """Return the mirror image."""
        columns = self.root.shape[1]
        return StarModel(
            mirrored(self.root),
            [mirrored(part) for part in self.parts],
            [
                (2 * columns - part.shape[1] - x, y)
                for part, (x, y) in zip(self.parts, self.anchors, strict=True)
            ],
            [(ax, -bx, ay, by) for ax, bx, ay, by in self.deformations],
            self.offset,
            self.location,
        )


def mirrored(weights: Array) -> Array:
    """Return a filter for the mirrored image: angles, columns and the blocks at the left and right swap."""
    found = np.empty_like(weights)
    signed, unsigned = MIRRORED_BINS
    for channel in range(18):
        found[..., channel] = weights[:, ::-1, signed[channel]]
    for channel in range(9):
        found[..., 18 + channel] = weights[:, ::-1, 18 + unsigned[channel]]
    for channel, source in ((27, 29), (28, 30), (29, 27), (30, 28), (31, 31)):
        found[..., channel] = weights[:, ::-1, source]
    return found


def padded(features: Array, rows: int, columns: int) -> Array:
    """Return the features of a level with cells around that are empty, but marked as outside."""
    height, width, channels = features.shape
    whole = np.zeros((height + 2 * rows + 2, width + 2 * columns + 2, channels))
    whole[..., -1] = 1
    whole[rows + 1 : rows + 1 + height, columns + 1 : columns + 1 + width] = features
    return whole


def find(
    levels: dict[int, Array], models: list[StarModel], interval: int, threshold: float
) -> list[Placement]:
    """Return all placements above a threshold, best first: `levels` are the features by number."""
    pad = max(m.root.shape[0] for m in models), max(m.root.shape[1] for m in models)
    shapes = [weights.shape for m in models for weights in (m.root, *m.parts)]
    least = min(shape[0] for shape in shapes), min(shape[1] for shape in shapes)
    found = []
    for number in sorted(levels):
        whole = padded(levels[number], *pad)
        fine = levels.get(number - interval) if models[0].parts else np.zeros((0, 0, 32))
        if fine is None:
            continue
        fine = padded(fine, *pad)
        rows, columns = (whole.shape[axis] - least[axis] + 1 for axis in (0, 1))
        sizes = [fine.shape[axis] - least[axis] + 1 for axis in (0, 1)]
        for x, y in itertools.product(range(columns), range(rows)):
            placed = [_place(whole, fine, m, y, x, number // interval, pad, sizes) for m in models]
            best = max(range(len(models)), key=lambda place: placed[place][0])
            if placed[best][0] > threshold:
                found.append(Placement(placed[best][0], best, number, y, x, placed[best][1]))
    return sorted(found, key=lambda placement: -placement.score)


def _respond(features: Array, weights: Array, y: int, x: int) -> float:
    height, width = weights.shape[:2]
    if y < 0 or x < 0 or y + height > features.shape[0] or x + width > features.shape[1]:
        return -math.inf
    return float((features[y : y + height, x : x + width] * weights).sum())


def _place(
    whole: Array,
    fine: Array,
    model: StarModel,
    y: int,
    x: int,
    octave: int,
    pad: tuple[int, int],
    sizes: list[int],
) -> tuple[float, list[tuple[int, int]]]:
    score = _respond(whole, model.root, y, x) + model.offset + model.location[min(octave, 2)]
    places = []
    for weights, (ax, ay), deformation in zip(model.parts, model.anchors, model.deformations, strict=True):
        if score == -math.inf:
            break
        row, column = 2 * y + ay - pad[0], 2 * x + ax - pad[1]
        best, place = -math.inf, (row, column)
        if 0 <= row < sizes[0] and 0 <= column < sizes[1]:
            for dx, dy in itertools.product(range(REACH, -REACH - 1, -1), repeat=2):
                a, b, c, d = deformation
                value = _respond(fine, weights, row - dy, column - dx)
                value -= a * dx**2 + b * dx + c * dy**2 + d * dy
                if value > best:
                    best, place = value, (row - dy, column - dx)
        score += best
        places.append(place)
    return score, places
