"""Graph-based segmentation: components of pixels with no evident boundary within and one around them.

P. Felzenszwalb and D. Huttenlocher, "Efficient Graph-Based Image Segmentation", IJCV 2004.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from detkit.proposals.selective_search.segmentation_loops import (
    convolve,
    join,
    number,
    share,
    sort_edges,
    weigh,
)


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
    """Differences of neighbouring pixels, lightest first, shared by segmentations at several scales.

    M nodes stand for pixels that all these scales join.

    Attributes:
        nodes: (H, W) int32 node of each pixel.
        sizes: (M,) int32 pixels of each node.
        heaviest: (M,) float32 heaviest edge that made each node.
        ends: (E, 2) int32 nodes that an edge connects.
        weights: (E,) float32 distances of colours, rising.
        least_k: the smallest scale it holds for.
    """

    nodes: NDArray[np.int32]
    sizes: NDArray[np.int32]
    heaviest: NDArray[np.float32]
    ends: NDArray[np.int32]
    weights: NDArray[np.float32]
    least_k: float

    def segment(self, k: float, min_size: int) -> Segmentation:
        """Return the components at a scale.

        Args:
            k: not below `least_k`; larger ones give larger components.
            min_size: pixels; smaller components are joined to a neighbour.
        """
        assert k >= self.least_k
        parents = join(self.ends, self.weights, k, min_size, self.sizes.copy(), self.heaviest)
        names = np.empty_like(parents)
        num = number(parents, names)
        return Segmentation(names[self.nodes], num)


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
        sigma: in pixels.
        border: what lies outside: the nearest pixel, and weights up to 4 sigma, as Felzenszwalb's code
            has it; or the image mirrored about its outermost pixels, as OpenCV has it.

    Returns:
        (C, H, W) float32.

    Example:
        >>> smooth(np.full((1, 2, 2), 9.0), 0.8, "nearest").round(4)[0]
        array([[9., 9.],
               [9., 9.]], dtype=float32)
    """
    radius = ceil(4 * sigma) if border == "nearest" else round(4 * sigma)
    kernel = gaussian(sigma, radius)
    smoothed = np.empty(planes.shape, dtype=np.float32)
    for plane, target in zip(planes, smoothed, strict=True):
        convolve(plane, kernel, kernel, border == "mirror", target)
    return smoothed


def pixel_graph(
    planes: NDArray[np.float32], neighbours: Literal[4, 8], least_k: float, copies: int = 1
) -> PixelGraph:
    """Connect each pixel with its neighbours, weighted by the Euclidean distance of their colours.

    Args:
        planes: (C, H, W) float32 colours.
        neighbours: of a pixel: 8 as in the paper, or 4 as in OpenCV.
        least_k: the smallest scale at which it will be segmented.
        copies: how often each plane counts.

    Example:
        >>> graph = pixel_graph(np.array([[[0, 1, 9, 11]]], np.float32), 8, least_k=3)
        >>> graph.nodes, graph.weights
        (array([[0, 0, 1, 1]], dtype=int32), array([8.], dtype=float32))
    """
    _, height, width = planes.shape
    weights = np.empty((neighbours // 2, height, width), dtype=np.float32)
    weigh(planes, copies, weights)
    edges, rising = sort_edges(weights.reshape(len(weights), -1))
    nodes = np.empty((height, width), dtype=np.int32)
    return PixelGraph(nodes, *share(edges, rising, width, least_k, nodes.reshape(-1)), least_k)
