"""Plan of R-CNN's crops: the cut out of the image, and its place in the network's square input."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detkit.errors import UserError

Whole = NDArray[np.int64]


@dataclass(frozen=True)
class WarpPlan:
    """The cuts of R regions, in whole pixels.

    Attributes:
        sources: (R, 4) x, y, width and height of the cut in the image.
        places: (R, 4) x, y, width and height of what it is resized to, in the output. What it leaves free of
            the output lies outside the image.
    """

    sources: Whole
    places: Whole

    def __len__(self) -> int:
        return len(self.sources)


def plan_warp(
    boxes: NDArray[np.floating], image_size: tuple[int, int], size: int, context_px: int, *, square: bool
) -> WarpPlan:
    """Return where regions are cut so that each has `context_px` pixels around it, once it is resized.

    The context is measured in the output: a box is widened about its centre by size / (size - 2 context)
    and its edges are rounded to pixels, half away from zero. What lies outside the image is cut off, and
    keeps its share of the output. As in the paper's code, the centre lies half a pixel to the right of, and
    below, the box's own, which widens the cut by a pixel.

    Args:
        boxes: (R, 4) corner boxes in pixels, each with some of its area in the image.
        image_size: (height, width) in pixels.
        size: side of the output in pixels.
        context_px: pixels of context on every side of the output.
        square: widen the shorter side of each box to the longer one first, so that nothing is stretched.

    Raises:
        UserError: the context leaves no room for the region.

    Example:
        >>> box = np.array([[100.0, 100.0, 200.0, 200.0]])
        >>> plan = plan_warp(box, (400, 400), 227, 16, square=False)
        >>> plan.sources.tolist(), plan.places.tolist()
        ([[92, 92, 117, 117]], [[0, 0, 227, 227]])

    Reference: Girshick et al., R-CNN, CVPR 2014, appendix A.
    """
    if 2 * context_px >= size:
        raise UserError(f"regions.context_px: {context_px} on both sides leave nothing of {size} pixels")
    corners = np.asarray(boxes, dtype=np.float64).reshape(-1, 4)
    half = (corners[:, 2:] - corners[:, :2]) / 2
    centre = corners[:, :2] + 1 + half  # in the papers' coordinates, which count pixels from 1
    if square:
        half = half.max(axis=1, keepdims=True)
    reach = half * (size / (size - 2 * context_px))
    first, last = _round(centre - reach), _round(centre + reach)
    sides = last - first + 1
    limits = np.array([image_size[1], image_size[0]], dtype=np.float64)
    low = np.clip(first, 1, limits)
    cut = np.maximum(np.minimum(last, limits) - low + 1, 1)
    free = _round(np.maximum(1 - first, 0) * (size / sides))
    place = np.minimum(free, size - 1)
    shown = np.minimum(np.maximum(_round(cut * (size / sides)), 1), size - place)
    return WarpPlan(_whole(low - 1, cut), _whole(place, shown))


def _round(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Round half away from zero; NumPy rounds half to even."""
    rounded: NDArray[np.float64] = np.copysign(np.floor(np.abs(values) + 0.5), values)
    return rounded


def _whole(start: NDArray[np.float64], length: NDArray[np.float64]) -> Whole:
    return np.concatenate([start, length], axis=1).astype(np.int64)
