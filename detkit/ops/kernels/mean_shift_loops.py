"""Mean shift over windows as compiled loops: each moves to the nearest peak of their density."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from detkit.runtime.compiled import compiled

Array = NDArray[Any]

_MOST_STEPS = 100
_LEAST_MOVE = 1e-5  # squared, in deviations
_FAR = 60.0  # squared deviations over which a window adds nothing that float64 would keep


@compiled
def move_to_peaks(points: Array, weights: Array, deviations: Array, peaks: Array) -> None:
    """Move points uphill until they stay where they are.

    Args:
        points: (N, 3) x, y and logarithm of the scale.
        weights: (N,) positive.
        deviations: (3,) of a window of scale 1; those in x and y grow with a window's scale.
        peaks: (N, 3) to be filled.
    """
    for number in range(len(points)):
        here = _mean(points[number], points, weights, deviations)
        for _ in range(_MOST_STEPS):
            there = _mean(here, points, weights, deviations)
            moved = _distance(there, here, deviations)
            here = there
            if moved <= _LEAST_MOVE:
                break
        peaks[number] = here


@compiled
def densities(places: Array, points: Array, weights: Array, deviations: Array, found: Array) -> None:
    """Find the (M,) densities of weighted points at (M, 3) places; see `move_to_peaks`."""
    for number in range(len(places)):
        total = 0.0
        for point in range(len(points)):
            total += _share(places[number], points[point], weights[point], deviations)
        found[number] = total


@compiled
def first_of_each(peaks: Array, deviations: Array) -> Array:
    """Return whether each of (N, 3) peaks is farther than a deviation from all that were taken before it."""
    taken = np.zeros(len(peaks), np.bool_)
    for number in range(len(peaks)):
        taken[number] = True
        for other in range(number):
            if taken[other] and _distance(peaks[number], peaks[other], deviations) < 1:
                taken[number] = False
                break
    return taken


@compiled
def _share(place: Array, point: Array, weight: float, deviations: Array) -> float:
    squared = _distance(place, point, deviations)
    if squared > _FAR:
        return 0.0
    scale = np.exp(point[2])
    spread = scale * (deviations[0] + deviations[1]) + deviations[2]
    return float(weight * np.exp(-squared / 2) / np.sqrt(spread))


@compiled
def _mean(place: Array, points: Array, weights: Array, deviations: Array) -> Array:
    total, norm = np.zeros(3), np.zeros(3)
    for number in range(len(points)):
        point = points[number]
        share = _share(place, point, weights[number], deviations)
        scale = np.exp(point[2])
        for axis in range(3):
            deviation = deviations[axis] * (scale if axis < 2 else 1.0)
            total[axis] += share * (point[axis] / deviation)
            norm[axis] += share / deviation
    return total / norm


@compiled
def _distance(place: Array, point: Array, deviations: Array) -> float:
    """Return the squared distance from a point, in the deviations of its scale."""
    scale, total = np.exp(point[2]), 0.0
    for axis in range(3):
        apart = (place[axis] - point[axis]) / (deviations[axis] * (scale if axis < 2 else 1.0))
        total += apart * apart
    return total
