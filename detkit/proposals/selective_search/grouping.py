"""Hierarchical grouping: the two most similar neighbours become one region, until nothing is left to join."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detkit.proposals.selective_search.grouping_loops import merge_all
from detkit.proposals.selective_search.region_features import Regions


@dataclass(frozen=True)
class Similarity:
    """Terms of the similarity: that of two regions is the mean of the terms that count.

    Attributes:
        colour: intersection of the colour histograms.
        texture: intersection of the texture histograms.
        size: 1 - share of the image that both cover: small regions first.
        fill: 1 - share of the image that their common box leaves uncovered.
    """

    colour: bool = False
    texture: bool = False
    size: bool = False
    fill: bool = False


@dataclass(frozen=True)
class Hierarchy:
    """M merges, the first one first.

    Attributes:
        boxes: (M, 4) int32 corner boxes of the new regions.
        levels: (M,) int32: one more than the higher of the two merged, initial regions having 1.
    """

    boxes: NDArray[np.int32]
    levels: NDArray[np.int32]


def group(regions: Regions, similarity: Similarity) -> Hierarchy:
    """Merge regions greedily.

    J. Uijlings et al., "Selective Search for Object Recognition", IJCV 2013, algorithm 1. Equal
    similarities are taken in the order of the pairs, and those of newer regions later.

    Args:
        regions: R of them; a merged one's histograms are the means of its parts, weighted by size.
        similarity: what makes two neighbours alike.

    Returns:
        R - 1 merges where all regions hang together.

    Example:
        >>> strip = np.array([[0, 0, 1, 0], [1, 0, 2, 0], [2, 0, 9, 0]], np.int32) + [[0, 0, 0, 1]]
        >>> none = np.zeros((3, 0), np.float32)
        >>> pairs = np.array([[0, 1], [1, 2]], np.int32)
        >>> strip = Regions(strip.astype(np.int32), np.array([1, 1, 7], np.int32), none, none, pairs, 9)
        >>> group(strip, Similarity(size=True)).boxes
        array([[0, 0, 2, 1],
               [0, 0, 9, 1]], dtype=int32)
    """
    num = len(regions.sizes)
    total = max(2 * num - 1, 1)
    boxes, levels = np.empty((total, 4), dtype=np.int32), np.ones(total, dtype=np.int32)
    sizes = np.empty(total, dtype=np.int32)
    boxes[:num], sizes[:num] = regions.boxes, regions.sizes
    used = [
        histograms if wanted else histograms[:, :0]
        for histograms, wanted in (
            (regions.colour, similarity.colour),
            (regions.texture, similarity.texture),
        )
    ]
    histograms = np.empty((total, sum(part.shape[1] for part in used)), dtype=np.float32)
    np.concatenate(used, axis=1, out=histograms[:num])
    terms = sum((similarity.colour, similarity.texture, similarity.size, similarity.fill))
    weights = np.array([1, similarity.size, similarity.fill], dtype=np.float32) / np.float32(terms)
    last = merge_all(
        boxes, sizes, levels, histograms, regions.pairs, weights, np.float32(1 / regions.image_size), num
    )
    return Hierarchy(boxes[num:last], levels[num:last])
