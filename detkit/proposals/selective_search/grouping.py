"""Hierarchical grouping: the two most similar neighbours become one region, until nothing is left to join.

A region owns the edges to the neighbours it had when it was made (initial edges belong to the first of
their pair), and only each owner's best edge waits in a heap. When it comes up and its other end has been
merged meanwhile, the owner's next best takes its place. Edges are rows of a pool: owner, other end, and
the next row with the same other end. Rows whose regions have been merged are swept out when it is full.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detkit.proposals.selective_search.region_features import Regions
from detkit.runtime.compiled import compiled

Array = NDArray[Any]

_OWNER, _OTHER, _NEXT = 0, 1, 2


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


@compiled
def alike(a: int, b: int, boxes: Array, sizes: Array, histograms: Array, weights: Array, unit: Any) -> Any:
    """Return the similarity of two regions; `unit` is the share of the image that a pixel is."""
    first, second = histograms[a], histograms[b]
    length = len(first) - len(first) % 4
    s0, s1, s2, s3 = np.float32(0), np.float32(0), np.float32(0), np.float32(0)
    for i in range(0, length, 4):
        s0 += min(first[i], second[i])
        s1 += min(first[i + 1], second[i + 1])
        s2 += min(first[i + 2], second[i + 2])
        s3 += min(first[i + 3], second[i + 3])
    for i in range(length, len(first)):
        s0 += min(first[i], second[i])
    size = sizes[a] + sizes[b]
    across = max(boxes[a, 2], boxes[b, 2]) - min(boxes[a, 0], boxes[b, 0])
    down = max(boxes[a, 3], boxes[b, 3]) - min(boxes[a, 1], boxes[b, 1])
    empty = np.float32(np.int64(across) * down - size) * unit
    small = np.float32(1) - np.float32(size) * unit
    return weights[0] * ((s0 + s1) + (s2 + s3)) + weights[1] * small + weights[2] * (np.float32(1) - empty)


@compiled
def best_row(region: int, ranges: Array, links: Array, values: Array, alive: Array) -> int:
    """Return the best row that a region owns and whose other end is alive; -1 if none is."""
    best = -1
    for row in range(ranges[region, 0], ranges[region, 1]):
        if alive[links[row, _OTHER]] and (best < 0 or values[row] > values[best]):
            best = row
    return best


@compiled
def neighbours_of(
    region: int,
    count: int,
    ranges: Array,
    heads: Array,
    links: Array,
    alive: Array,
    seen: Array,
    new: int,
    found: Array,
) -> int:
    """Append a region's living neighbours to the first `count` of `found`, unless seen for `new` already.

    Returns:
        How many there are then.
    """
    for row in range(ranges[region, 0], ranges[region, 1]):
        other = links[row, _OTHER]
        if alive[other] and seen[other] != new:
            seen[other] = new
            found[count] = other
            count += 1
    row = heads[region]
    while row >= 0:
        owner = links[row, _OWNER]
        if alive[owner] and seen[owner] != new:
            seen[owner] = new
            found[count] = owner
            count += 1
        row = links[row, _NEXT]
    return count


@compiled
def sweep(
    used: int, needed: int, links: Array, values: Array, ranges: Array, heads: Array, alive: Array
) -> tuple[int, Array, Array]:
    """Keep the rows between living regions, in their order, in a pool with room for `needed` more."""
    keep = 0
    for row in range(used):
        keep += alive[links[row, _OWNER]] and alive[links[row, _OTHER]]
    new_links = np.empty((2 * (keep + needed), 3), np.int32)
    new_values = np.empty(len(new_links), np.float32)
    heads[:] = -1
    count = 0
    for region in range(len(alive)):
        start = count
        if alive[region]:
            for row in range(ranges[region, 0], ranges[region, 1]):
                other = links[row, _OTHER]
                if alive[other]:
                    link(new_links, count, region, other, heads)
                    new_values[count] = values[row]
                    count += 1
        ranges[region, 0], ranges[region, 1] = start, count
    return count, new_links, new_values


@compiled
def link(links: Array, row: int, owner: int, other: int, heads: Array) -> None:
    """Make a row of the pool, and put it before the others that end at the same region."""
    links[row, _OWNER], links[row, _OTHER], links[row, _NEXT] = owner, other, heads[other]
    heads[other] = row


@compiled
def unite(a: int, b: int, new: int, boxes: Array, sizes: Array, levels: Array, histograms: Array) -> None:
    """Fill in what the region made of two others is like."""
    for side in range(2):
        boxes[new, side] = min(boxes[a, side], boxes[b, side])
        boxes[new, side + 2] = max(boxes[a, side + 2], boxes[b, side + 2])
    sizes[new] = sizes[a] + sizes[b]
    levels[new] = max(levels[a], levels[b]) + 1
    share = np.float32(sizes[a]) / np.float32(sizes[new])
    rest = np.float32(sizes[b]) / np.float32(sizes[new])
    for i in range(histograms.shape[1]):
        histograms[new, i] = share * histograms[a, i] + rest * histograms[b, i]


@compiled
def renew(region: int, heap: Any, ranges: Array, links: Array, values: Array, alive: Array) -> None:
    """Put a living region's best row, if it has one, into the heap; of equal values the first goes first."""
    row = best_row(region, ranges, links, values, alive) if alive[region] else -1
    if row >= 0:
        heapq.heappush(heap, (-values[row], row))


@compiled
def connect(
    region: int, others: Array, row: int, links: Array, values: Array, ranges: Array, heads: Array, look: Any
) -> int:
    """Give a region its edges to others, in the pool from `row` on; return the row after the last."""
    boxes, sizes, histograms, weights, unit = look
    ranges[region, 0] = row
    for other in others:
        link(links, row, region, other, heads)
        values[row] = alike(region, other, boxes, sizes, histograms, weights, unit)
        row += 1
    ranges[region, 1] = row
    return row


@compiled
def merge_all(
    boxes: Array,
    sizes: Array,
    levels: Array,
    histograms: Array,
    pairs: Array,
    weights: Array,
    unit: Any,
    num: int,
) -> int:
    """Merge `num` regions, appending the new ones to the arrays.

    Args:
        boxes: (2R - 1, 4) int32 corner boxes; the first `num` rows are given, here and below.
        sizes: (2R - 1,) int32 pixels.
        levels: (2R - 1,) int32.
        histograms: (2R - 1, B) float32.
        pairs: (E, 2) int32 of touching regions, sorted.
        weights: (3,) float32 of the histograms' intersection, of size and of fill.
        unit: 1 over the pixels of the image.
        num: R.

    Returns:
        How many regions there are then.
    """
    total, look = len(sizes), (boxes, sizes, histograms, weights, unit)
    links, values = np.empty((4 * len(pairs), 3), np.int32), np.empty(4 * len(pairs), np.float32)
    ranges, heads = np.zeros((total, 2), np.int32), np.full(total, -1, np.int32)
    alive, seen, found = np.arange(total) < num, np.full(total, -1, np.int32), np.empty(total, np.int32)
    heap, used, new = [(np.float32(0), np.int64(0))], 0, num
    heap.clear()
    starts = np.searchsorted(pairs[:, 0], np.arange(num + 1))
    for region in range(num):
        others = pairs[starts[region] : starts[region + 1], 1]
        used = connect(region, others, used, links, values, ranges, heads, look)
        renew(region, heap, ranges, links, values, alive)
    while len(heap) > 0:
        _, row = heapq.heappop(heap)
        a, b = links[row, _OWNER], links[row, _OTHER]
        if not alive[a] or not alive[b]:
            renew(a, heap, ranges, links, values, alive)
            continue
        unite(a, b, new, boxes, sizes, levels, histograms)
        alive[a], alive[b] = False, False
        count = neighbours_of(a, 0, ranges, heads, links, alive, seen, new, found)
        count = neighbours_of(b, count, ranges, heads, links, alive, seen, new, found)
        if used + count > len(links):
            used, links, values = sweep(used, count, links, values, ranges, heads, alive)
            heap.clear()
            for region in range(new):
                renew(region, heap, ranges, links, values, alive)
        used = connect(new, np.sort(found[:count]), used, links, values, ranges, heads, look)
        alive[new] = True
        renew(new, heap, ranges, links, values, alive)
        new += 1
    return new
