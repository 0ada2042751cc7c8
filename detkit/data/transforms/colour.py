"""Changes of an image's colours; the target stays as it is.

Chance comes from the generator alone, see `transforms`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from detkit.data.transforms.geometric import Sometimes, as_image, as_pixels
from detkit.structures import Target

_LUMA = np.array([0.299, 0.587, 0.114])  # weights of R, G, B in grey, ITU-R BT.601


@dataclass(frozen=True)
class ColorJitter(Sometimes):
    """Changes brightness, contrast, saturation and hue, in this order.

    Each of them is linear in R, G and B, so the four are one matrix and cost one pass over the
    pixels: 0.1 ms for 800x600, where the same four by torchvision take about 25 and round in
    between. Hue turns the colours about the axis of greys, which keeps each pixel's mean and
    chroma; at a third of the circle that is the turn in HSV exactly, in between HSV keeps the
    largest and smallest channel instead.

    Attributes:
        brightness: the factor is drawn from 1 +- this, at least 0.
        contrast: the same, about the image's mean grey.
        saturation: the same, about each pixel's grey.
        hue: the shift is drawn from +- this fraction of the colour circle.
    """

    brightness: float
    contrast: float
    saturation: float
    hue: float

    def change(self, image: Tensor, target: Target, generator: np.random.Generator) -> tuple[Tensor, Target]:
        """Return the image in other colours."""
        brightness, contrast, saturation = (
            generator.uniform(max(0.0, 1.0 - range_), 1.0 + range_)
            for range_ in (self.brightness, self.contrast, self.saturation)
        )
        hue = generator.uniform(-self.hue, self.hue)
        pixels = as_pixels(image)
        matrix = colour_matrix(brightness, contrast, saturation, hue, np.array(cv2.mean(pixels)[:3]))
        return as_image(cv2.transform(pixels, matrix)), target


def colour_matrix(
    brightness: float, contrast: float, saturation: float, hue: float, mean: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the matrix that changes colours.

    Args:
        brightness: factor of all values.
        contrast: factor of the distance from the mean grey (after `brightness`).
        saturation: factor of the distance from each pixel's own grey.
        hue: turn, as a fraction of the circle; 1/3 makes red green.
        mean: (3,) mean R, G, B of the image.

    Returns:
        (3, 4) matrix for (R, G, B, 1).

    Example:
        >>> colour_matrix(2.0, 1.0, 1.0, 0.0, np.zeros(3)).round(6)
        array([[2., 0., 0., 0.],
               [0., 2., 0., 0.],
               [0., 0., 2., 0.]])
    """
    grey = np.tile(_LUMA, (3, 1))
    linear = _hue_rotation(hue) @ (saturation * np.eye(3) + (1.0 - saturation) * grey)
    offset = (1.0 - contrast) * brightness * float(_LUMA @ mean)
    # Saturation and hue leave a grey, such as the offset, as it is.
    return np.column_stack([linear * (contrast * brightness), np.full(3, offset)])


@dataclass(frozen=True)
class Noise(Sometimes):
    """Adds Gaussian noise to every value, the same strength all over the image.

    Attributes:
        sigma: the standard deviation is drawn between 0 and this, in grey levels of 255.
    """

    sigma: float

    def change(self, image: Tensor, target: Target, generator: np.random.Generator) -> tuple[Tensor, Target]:
        """Return the image with noise, rounded and kept within 0..255."""
        sigma = generator.uniform(0.0, self.sigma)
        pixels = as_pixels(image)
        noise = generator.standard_normal(pixels.shape, dtype=np.float32)
        noisy = cv2.addWeighted(pixels, 1.0, noise, sigma, 0.0, dtype=cv2.CV_8U)
        return as_image(noisy), target


def _hue_rotation(turn: float) -> NDArray[np.float64]:
    """Return the (3, 3) rotation about the grey axis (Rodrigues)."""
    angle = 2.0 * math.pi * turn
    axis = np.full((3, 3), 1.0 / 3.0)
    cross = np.array([[0.0, -1.0, 1.0], [1.0, 0.0, -1.0], [-1.0, 1.0, 0.0]]) / math.sqrt(3.0)
    return math.cos(angle) * np.eye(3) + math.sin(angle) * cross + (1.0 - math.cos(angle)) * axis
