"""Features of the regions of a segmentation, and which regions touch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detkit.proposals.selective_search.region_texture import NUM_BINS
from detkit.proposals.selective_search.segmentation import Segmentation
from detkit.runtime.compiled import compiled

Array = NDArray[Any]

COLOUR_BINS = 25
PAPER_BINS = np.floor(np.arange(256) / 255 * (COLOUR_BINS - 1) + 0.5).astype(np.uint8)
"""(256,) bin of each byte; the first and the last bin have half the width of the others."""
OPENCV_BINS = (np.arange(256) * COLOUR_BINS // 256).astype(np.uint8)
"""(256,) bin of each byte; all have the same width."""


@dataclass(frozen=True)
class Regions:
    """R regions of an image.

    Attributes:
        boxes: (R, 4) int32 corner boxes in pixels.
        sizes: (R,) int32 pixels.
        colour: (R, B) float32 histograms that sum to 1.
        texture: (R, T) float32 histograms that sum to 1.
        pairs: (E, 2) int32 of regions that touch.
        image_size: pixels of the image.
    """

    boxes: NDArray[np.int32]
    sizes: NDArray[np.int32]
    colour: NDArray[np.float32]
    texture: NDArray[np.float32]
    pairs: NDArray[np.int32]
    image_size: int


def describe(
    segmentation: Segmentation,
    planes: NDArray[np.uint8],
    codes: NDArray[np.uint8],
    *,
    opencv: bool,
) -> Regions:
    """Measure the regions of a segmentation.

    Args:
        segmentation: of an (H, W) image.
        planes: (C, H, W) colours.
        codes: (A, H, W) gradients, as `region_texture` codes them.
        opencv: whether colours are binned, gradients coded and neighbours found as OpenCV does.

    Example:
        >>> halves = np.repeat([[0, 0, 255]], 2, axis=0).astype(np.uint8)
        >>> parts = Segmentation((halves // 255).astype(np.int32), 2)
        >>> regions = describe(parts, halves[None], np.zeros((4, 2, 3), np.uint8), opencv=False)
        >>> regions.boxes, regions.colour[:, [0, 24]]
        (array([[0, 0, 2, 2],
               [2, 0, 3, 2]], dtype=int32), array([[1., 0.],
               [0., 1.]], dtype=float32))
    """
    labels, num = segmentation.labels, segmentation.num
    boxes, sizes = np.empty((num, 4), dtype=np.int32), np.empty(num, dtype=np.int32)
    measure(labels, boxes, sizes)
    flat = labels.reshape(-1)
    colour = np.zeros((num, len(planes) * COLOUR_BINS), dtype=np.float32)
    bins = OPENCV_BINS if opencv else PAPER_BINS
    count_colours(planes.reshape(len(planes), -1), flat, bins, COLOUR_BINS, colour)
    directions = np.zeros((num, len(codes), 2 * NUM_BINS), dtype=np.float32)
    count_directions(codes.reshape(len(codes), -1), flat, directions)
    texture = complete(directions, sizes, NUM_BINS - 1 if opencv else 0)
    pairs = touching(labels, num, opencv)
    area = sizes[:, None].astype(np.float32)
    return Regions(
        boxes, sizes, colour / (area * len(planes)), texture / (area * 2 * len(codes)), pairs, labels.size
    )


def complete(
    directions: NDArray[np.float32], sizes: NDArray[np.int32], negative_zero: int
) -> NDArray[np.float32]:
    """Count what has no gradient in a direction, because it has one in the opposite direction.

    Args:
        directions: (R, A, 20) counts of codes; each pixel is counted once for each axis.
        sizes: (R,) pixels.
        negative_zero: the bin of no gradient in the negative direction; in the positive one it is 0.

    Returns:
        (R, A * 20) counts; each pixel is counted twice for each axis.

    Example:
        >>> counts = np.zeros((1, 1, 20), np.float32)
        >>> counts[0, 0, [3, 14]] = [5, 2]
        >>> np.flatnonzero(complete(counts, np.array([7], np.int32), 0))
        array([ 0,  3, 10, 14])
    """
    num, axes, _ = directions.shape
    halves = directions.reshape(num, axes, 2, NUM_BINS)
    counted = halves.sum(axis=3)
    missing = sizes[:, None, None] - counted
    halves[:, :, 0, 0] += missing[:, :, 0]
    halves[:, :, 1, negative_zero] += missing[:, :, 1]
    return directions.reshape(num, axes * 2 * NUM_BINS)


@compiled
def measure(labels: Array, boxes: Array, sizes: Array) -> None:
    """Fill the corner boxes (R, 4) and the pixel counts (R,) of the regions of (H, W) labels, both int32."""
    boxes[:, :2] = np.iinfo(np.int32).max
    boxes[:, 2:] = 0
    sizes[:] = 0
    for y in range(labels.shape[0]):
        x = 0
        while x < labels.shape[1]:
            region, start = labels[y, x], x
            while x < labels.shape[1] and labels[y, x] == region:
                x += 1
            sizes[region] += x - start
            boxes[region, 0] = min(boxes[region, 0], start)
            boxes[region, 1] = min(boxes[region, 1], y)
            boxes[region, 2] = max(boxes[region, 2], x)
            boxes[region, 3] = y + 1


@compiled
def touching(labels: Array, num: int, opencv: bool) -> Array:
    """Return the pairs of regions that touch.

    Args:
        labels: (H, W) int32.
        num: how many regions there are.
        opencv: whether pixels left, above and above left touch, but none in the first row and column;
            otherwise left and above do.

    Returns:
        (E, 2) int32, the smaller number first, in rising order.
    """
    found = {np.int64(0)}
    found.clear()
    first = 1 if opencv else 0
    for y in range(first, labels.shape[0]):
        for x in range(first, labels.shape[1]):
            here = labels[y, x]
            for other in range(3 if opencv else 2):
                if (other == 0 and x == 0) or (other > 0 and y == 0):
                    continue
                there = labels[y - (other > 0), x - (other != 1)]
                if there != here:
                    found.add(np.int64(min(here, there)) * num + max(here, there))
    keys = np.sort(np.array(list(found)))
    pairs = np.empty((len(keys), 2), np.int32)
    pairs[:, 0], pairs[:, 1] = keys // num, keys % num
    return pairs


@compiled
def count_colours(planes: Array, labels: Array, bins: Array, num_bins: int, counts: Array) -> None:
    """Count the values of each plane in each region.

    Args:
        planes: (C, N) uint8.
        labels: (N,) int32.
        bins: (256,) bin of each value.
        num_bins: of a plane.
        counts: (R, C * num_bins) float32, to be added to.
    """
    for pixel in range(len(labels)):
        row = counts[labels[pixel]]
        for c in range(len(planes)):
            row[c * num_bins + bins[planes[c, pixel]]] += np.float32(1)


@compiled
def count_directions(codes: Array, labels: Array, counts: Array) -> None:
    """Count the coded gradients of each region.

    Args:
        codes: (A, N) uint8, of A axes: the bin, plus the number of bins where the gradient is negative.
        labels: (N,) int32.
        counts: (R, A, number of codes) float32, to be added to.
    """
    for pixel in range(len(labels)):
        rows = counts[labels[pixel]]
        for axis in range(len(codes)):
            rows[axis, codes[axis, pixel]] += np.float32(1)
