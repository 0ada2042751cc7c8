"""Misses of a classifier of windows against false windows, as Dalal and Triggs count them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detkit.evaluation.metrics.miss_rate import DetCurve

REFERENCES = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2)
"""False positives a window at which the miss rate is read; 1e-4 is the paper's."""


class WindowCounts:
    """Counts, for each class, how many windows of background score at least as much as each object.

    Args:
        objects: of each class the (P,) margins of its objects.

    Example:
        >>> counts = WindowCounts([np.array([2.0, 0.5])])
        >>> counts.add([np.array([-1.0, 0.0, 1.0, 3.0])])
        >>> counts.curves()[0].false_positives.tolist(), counts.curves()[0].miss_rate.tolist()
        ([0.25, 0.5], [0.5, 0.0])

    Reference: Dalal & Triggs, CVPR 2005, section 4.
    """

    def __init__(self, objects: Sequence[NDArray[np.floating[Any]]]) -> None:
        self._objects = [np.sort(margins) for margins in objects]
        self._above = [np.zeros(len(margins) + 1, np.int64) for margins in objects]

    def add(self, background: Sequence[NDArray[np.floating[Any]]]) -> None:
        """Count the (N,) margins of windows of each class that are no objects."""
        for label, (margins, objects) in enumerate(zip(background, self._objects, strict=True)):
            below = np.searchsorted(objects, margins, side="right")
            self._above[label] += np.bincount(below, minlength=len(objects) + 1)

    def curves(self) -> tuple[DetCurve, ...]:
        """Return the curve of each class: false positives a window, and what is missed, object by object."""
        curves = []
        for objects, above in zip(self._objects, self._above, strict=True):
            false = np.cumsum(above[:0:-1]) / max(int(above.sum()), 1)
            missed = 1 - np.arange(1, len(objects) + 1) / max(len(objects), 1)
            curves.append(DetCurve(false, missed, objects[::-1]))
        return tuple(curves)


def miss_rates(curve: DetCurve) -> dict[str, float | None]:
    """Return the miss rate at each of `REFERENCES`; None without objects.

    Example:
        >>> curve = DetCurve(np.array([1e-5, 5e-4]), np.array([0.5, 0.0]), np.zeros(2))
        >>> miss_rates(curve)
        {'1e-06': 1.0, '1e-05': 0.5, '0.0001': 0.5, '0.001': 0.0, '0.01': 0.0}
    """
    if not len(curve.miss_rate):
        return {f"{rate:g}": None for rate in REFERENCES}
    places = np.searchsorted(curve.false_positives, REFERENCES, side="right")
    found = np.append(1.0, curve.miss_rate)[places]
    return {f"{rate:g}": float(missed) for rate, missed in zip(REFERENCES, found, strict=True)}
