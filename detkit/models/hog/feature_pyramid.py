"""The pyramid of features that deformable part models look at: an image in many sizes, in cells."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detkit.models.hog.dpm_features import dpm_features, rounded
from detkit.ops.kernels.area_resize_loops import shrink_image

Array = NDArray[Any]

_SMALLEST_CELLS = 5  # along the short side of the smallest image


@dataclass(frozen=True)
class Level:
    """One size of an image in cells.

    Attributes:
        number: of the level, 0 for the finest.
        octave: of the level, 0 for the finest, after which sides halve.
        cell_px: side of a cell in pixels of the image.
        features: (rows, columns, 32) float32 of all cells but the outermost.
    """

    number: int
    octave: int
    cell_px: float
    features: NDArray[np.float32]


@dataclass(frozen=True)
class FeaturePyramid:
    """Sizes of the levels of a pyramid.

    Attributes:
        cell_px: side of a cell in pixels of the images that levels are made from.
        interval: levels in an octave: from one level to the next so many further, sides halve.
        extra_octave: whether cells of a quarter come before those of half the size, and not these first.
    """

    cell_px: int = 8
    interval: int = 10
    extra_octave: bool = False

    def num_levels(self, height: int, width: int) -> int:
        """Return the number of levels of an image."""
        cells = min(height, width) / (_SMALLEST_CELLS * self.cell_px)
        sizes = 1 + math.floor(math.log(cells) / math.log(2 ** (1 / self.interval)))
        return max(sizes, self.interval) + self.interval * (2 if self.extra_octave else 1)

    def levels(self, image: Array, phase: int) -> list[Level]:
        """Return the levels whose cells differ by factors of two, the finest first.

        Args:
            image: (H, W, 3) RGB from 0 to 255, integers or float64.
            phase: number of the first one, from 0 to `interval` - 1; the others follow, `interval` apart.
        """
        number = self.num_levels(*image.shape[:2])
        scale = 1 / (2 ** (1 / self.interval)) ** phase
        image = shrink(image, scale)
        cells = [self.cell_px // 2, self.cell_px]
        if self.extra_octave:
            cells.insert(0, self.cell_px // 4)
        maps = dpm_features(image, *cells)
        for _ in range(phase + len(cells) * self.interval, number, self.interval):
            image = shrink(image, 0.5)
            maps += dpm_features(image, self.cell_px)
        return [
            Level(phase + octave * self.interval, octave, cells[0] / scale * 2**octave, features)
            for octave, features in enumerate(maps)
        ]


def shrink(image: Array, scale: float) -> NDArray[np.float64] | Array:
    """Return an image whose pixels are the means of the areas they cover; at scale 1 the image itself.

    Args:
        image: (H, W, 3) numbers.
        scale: of both sides, from 1/2 to 1; sides are rounded.

    Example:
        >>> row = np.array([0.0, 4.0, 8.0, 8.0])
        >>> shrink(np.stack([row] * 3, axis=-1)[None], 0.5)[..., 0].tolist()
        [[2.0, 8.0]]
    """
    if scale == 1:
        return image
    smaller = np.empty((*(rounded(side * scale) for side in image.shape[:2]), 3))
    shrink_image(np.ascontiguousarray(image), smaller)
    return smaller
