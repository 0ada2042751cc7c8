"""Graph-based segmentation: components of pixels with no evident boundary within and one around them."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from detkit.errors import UserError
from detkit.proposals.segmentation_loops import convolve, join, number, sort_edges, weigh


@dataclass(frozen=True)
class Segmentation:
    """A partition of an image.

    Attributes:
        labels: (H, W) int32, 0 to `num` - 1, numbered in the order in which rows of pixels meet them.
        num: how many components there are.
    """

    labels: NDArray[np.int32]
    num: int


@dataclass(frozen=True)
class PixelGraph:
    """The edges between neighbouring pixels, lightest first, shared by segmentations at several scales.

    Attributes:
        edges: (E,) int32, coded as `segmentation_loops` says.
        weights: (E,) float32 distances of colours, rising.
        height: rows of the image.
        width: columns of the image.
    """

    edges: NDArray[np.int32]
    weights: NDArray[np.float32]
    height: int
    width: int

    def segment(self, k: float, min_size: int) -> Segmentation:
        """Return the components at a scale.

        Args:
            k: larger ones give larger components.
            min_size: pixels; smaller components are joined to a neighbour.
        """
        parents = np.arange(self.height * self.width, dtype=np.int32)
        join(self.edges, self.weights, self.width, k, min_size, parents, np.ones_like(parents))
        labels = np.empty((self.height, self.width), dtype=np.int32)
        return Segmentation(labels, number(parents, labels.reshape(-1)))


def gaussian(sigma: float, radius: int) -> NDArray[np.float32]:
    """Return a sampled Gaussian of 2 radius + 1 weights that sum to 1.

    Example:
        >>> gaussian(0.8, 1).round(3)
        array([0.239, 0.522, 0.239], dtype=float32)
    """
    weights = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    scaled: NDArray[np.float32] = (weights / weights.sum()).astype(np.float32)
    return scaled


def smooth(planes: NDArray[Any], sigma: float, border: Literal["nearest", "mirror"]) -> NDArray[np.float32]:
    """Blur every plane with a Gaussian.

    Args:
        planes: (C, H, W).
        sigma: in pixels; 0 leaves the planes as they are.
        border: what lies outside: the nearest pixel, and weights up to 4 sigma, as Felzenszwalb's code
            has it; or the image mirrored about its outermost pixels, as OpenCV has it.

    Returns:
        (C, H, W) float32.

    Example:
        >>> smooth(np.full((1, 2, 2), 9.0), 0.8, "nearest").round(4)[0]
        array([[9., 9.],
               [9., 9.]], dtype=float32)
    """
    if sigma == 0:
        return planes.astype(np.float32)
    radius = ceil(4 * sigma) if border == "nearest" else round(4 * sigma)
    kernel = gaussian(sigma, radius)
    smoothed = np.empty(planes.shape, dtype=np.float32)
    for plane, target in zip(planes, smoothed, strict=True):
        convolve(plane, kernel, kernel, border == "mirror", target)
    return smoothed


def pixel_graph(planes: NDArray[np.float32], neighbours: Literal[4, 8], copies: int = 1) -> PixelGraph:
    """Connect each pixel with its neighbours, weighted by the Euclidean distance of their colours.

    Args:
        planes: (C, H, W) float32 colours.
        neighbours: of a pixel: 8 as in the paper, or 4 as in OpenCV.
        copies: how often each plane counts.

    Example:
        >>> pixel_graph(np.array([[[0, 3, 4]]], np.float32), 8).weights
        array([1., 3.], dtype=float32)
    """
    _, height, width = planes.shape
    weights = np.empty((neighbours // 2, height, width), dtype=np.float32)
    weigh(planes, copies, weights)
    edges, rising = sort_edges(weights.reshape(len(weights), -1))
    return PixelGraph(edges, rising, height, width)


def segment(image: NDArray[np.uint8], *, k: float, min_size: int, sigma: float) -> Segmentation:
    """Segment an image.

    P. Felzenszwalb and D. Huttenlocher, "Efficient Graph-Based Image Segmentation", IJCV 2004.

    Args:
        image: (H, W, C) uint8, of any number of channels.
        k: the scale; larger ones give larger components.
        min_size: pixels; smaller components are joined to a neighbour.
        sigma: of the Gaussian that smooths the image first, in pixels.

    Raises:
        UserError: the image has no pixels, or is not (H, W, C) of bytes.

    Example:
        >>> halves = np.zeros((4, 6, 3), np.uint8)
        >>> halves[:, 3:] = 200
        >>> segment(halves, k=10, min_size=1, sigma=0).labels[0]
        array([0, 0, 0, 1, 1, 1], dtype=int32)
    """
    if image.ndim != 3 or image.dtype != np.uint8 or 0 in image.shape:
        raise UserError(f"the image must be (H, W, C) uint8 with pixels, not {image.shape} {image.dtype}")
    planes = np.moveaxis(image, -1, 0)
    return pixel_graph(smooth(planes, sigma, "nearest"), 8).segment(k, min_size)
