"""Distortion of an image as by a lens, straight lines bent towards the middle or away from it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from detkit.data.transforms.geometric import Sometimes, as_image, as_pixels, carry, mean_colour
from detkit.structures import Target

_RADII = 4096  # of the table that is turned round; between them lie straight lines
_POINTS = 17  # along each side of a box
_OUTSIDE = 8.0  # a radius that no image has


@dataclass(frozen=True)
class LensDistortion(Sometimes):
    """Bends the image about its middle by the radial part of Brown's model; the canvas keeps its size.

    What lies at radius r goes to r (1 + k1 r^2 + k2 r^4); 1 is the radius of a corner. Factors below 0 make
    a barrel, above 0 a cushion. What comes in from outside has the image's mean colour. A box becomes the
    box around its bent sides.

    Attributes:
        k1: the factor of the square is drawn from +- this.
        k2: that of the fourth power, the same; no place is seen twice while 3 k1 + 5 k2 is below 1.

    Reference: Brown, Decentering distortion of lenses, Photogrammetric Engineering 1966.
    """

    k1: float
    k2: float

    def change(self, image: Tensor, target: Target, generator: np.random.Generator) -> tuple[Tensor, Target]:
        """Return the bent image and target."""
        k1, k2 = generator.uniform(-1.0, 1.0, size=2) * (self.k1, self.k2)
        height, width = image.shape[1:]
        pixels = as_pixels(image)
        bent = cv2.remap(
            pixels,
            *_sources((height, width), k1, k2),
            interpolation=cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_CONSTANT,
            borderValue=mean_colour(pixels).tolist(),
        )
        size = (height, width)
        moved = carry(
            target,
            lambda boxes: bent_boxes(boxes, size, k1, k2),
            lambda places: bent_points(places, size, k1, k2),
            size,
        )
        return as_image(bent), moved


def bent_points(
    points: NDArray[np.float64], size: tuple[int, int], k1: float, k2: float
) -> NDArray[np.float64]:
    """Return where points of an image go.

    Args:
        points: (..., 2) x, y in continuous pixels.
        size: (height, width) of the image in pixels.
        k1: factor of the square of the radius.
        k2: factor of its fourth power.

    Example:
        >>> bent_points(np.array([[0.0, 0.0], [50.0, 50.0]]), (100, 100), -0.1, 0.0)
        array([[ 5.,  5.],
               [50., 50.]])
    """
    middle = np.array([size[1] / 2, size[0] / 2])
    from_middle = points - middle
    square = (from_middle**2).sum(axis=-1, keepdims=True) / (middle**2).sum()
    bent: NDArray[np.float64] = middle + from_middle * (1 + square * (k1 + square * k2))
    return bent


def bent_boxes(
    boxes: NDArray[np.float32], size: tuple[int, int], k1: float, k2: float
) -> NDArray[np.float32]:
    """Return the (N, 4) boxes around the bent sides of (N, 4) boxes, not clipped; see `bent_points`."""
    steps = np.linspace(0.0, 1.0, _POINTS)
    x1, y1, x2, y2 = boxes.astype(np.float64).T[:, :, None]
    across, down = x1 + steps * (x2 - x1), y1 + steps * (y2 - y1)
    xs = np.concatenate([across, across, np.broadcast_to(x1, down.shape), np.broadcast_to(x2, down.shape)], 1)
    ys = np.concatenate([np.broadcast_to(y1, across.shape), np.broadcast_to(y2, across.shape), down, down], 1)
    bent = bent_points(np.stack([xs, ys], axis=-1), size, k1, k2)
    return np.concatenate([bent.min(axis=1), bent.max(axis=1)], axis=1).astype(boxes.dtype)


def _sources(size: tuple[int, int], k1: float, k2: float) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return x and y, (H, W) each, of what is seen at each pixel; 0 is the first one's middle."""
    radii = np.linspace(0.0, 1.0, _RADII)
    reached = radii * (1 + radii**2 * (k1 + radii**2 * k2))
    height, width = size
    corner = math.hypot(width, height) / 2
    x, y = (np.arange(side) + 0.5 - side / 2 for side in (width, height))
    radius = np.hypot(x[None], y[:, None]) / corner
    source = np.interp(radius, reached, radii, right=_OUTSIDE)
    ratio = np.divide(source, radius, out=np.ones_like(radius), where=radius > 0)
    from_x, from_y = x[None] * ratio + (width - 1) / 2, y[:, None] * ratio + (height - 1) / 2
    return from_x.astype(np.float32), from_y.astype(np.float32)
