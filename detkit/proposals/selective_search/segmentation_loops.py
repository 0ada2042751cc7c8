"""The compiled loops of the graph-based segmentation: smoothing, edges, sorting, joining.

An edge is an int32: four times its first pixel plus its direction. Directions lead right, down, down-right
and up-right, in this order; a grid of four neighbours has the first two.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from detkit.runtime.compiled import compiled

Array = NDArray[Any]

_RADIX_BITS = 11
_NO_EDGE = np.float32(np.inf)
_LEFT_ALONE = np.float32(-1)


@compiled
def convolve(plane: Array, kernel_y: Array, kernel_x: Array, reflect: bool, out: Array) -> None:
    """Filter (H, W) with a column and a row of weights (correlation, odd lengths) into (H, W) float32.

    Beyond the border the nearest pixel repeats, or the image is mirrored about its outermost pixels.
    """
    height, width = plane.shape
    radius = len(kernel_x) // 2
    row = np.empty(width + 2 * radius, np.float32)
    for y in range(height):
        middle = row[radius : radius + width]
        middle[:] = np.float32(0)
        for tap in range(len(kernel_y)):
            source = plane[inside(y + tap - len(kernel_y) // 2, height, reflect)]
            weight = kernel_y[tap]
            for x in range(width):
                middle[x] += weight * np.float32(source[x])
        for x in range(radius):
            row[x] = middle[inside(x - radius, width, reflect)]
            row[radius + width + x] = middle[inside(width + x, width, reflect)]
        target = out[y]
        target[:] = np.float32(0)
        for tap in range(len(kernel_x)):
            weight = kernel_x[tap]
            shifted = row[tap : tap + width]
            for x in range(width):
                target[x] += weight * shifted[x]


@compiled
def inside(index: int, length: int, reflect: bool) -> int:
    """Return the pixel that stands for one at or beyond the border."""
    if not reflect or length == 1:
        return min(max(index, 0), length - 1)
    while index < 0 or index >= length:
        index = -index if index < 0 else 2 * (length - 1) - index
    return index


@compiled
def weigh(planes: Array, copies: int, weights: Array) -> None:
    """Fill (D, H, W) with the distance of each pixel's colour (C, H, W) to its neighbour in D directions.

    Edges that would leave the image get infinity.
    """
    _, height, width = planes.shape
    for d in range(len(weights)):
        dy, dx = (0 if d == 0 else (-1 if d == 3 else 1)), (0 if d == 1 else 1)
        for y in range(height):
            target = weights[d, y]
            if y + dy < 0 or y + dy >= height:
                target[:] = _NO_EDGE
                continue
            target[width - dx :] = _NO_EDGE
            target[: width - dx] = np.float32(0)
            for c in range(len(planes)):
                here, there = planes[c, y], planes[c, y + dy, dx:]
                for x in range(width - dx):
                    target[x] += (here[x] - there[x]) * (here[x] - there[x])
            for x in range(width - dx):
                target[x] = np.sqrt(np.float32(copies) * target[x])


@compiled
def sort_edges(weights: Array) -> tuple[Array, Array]:
    """Sort the edges of (D, N) weights by rising weight, equal ones by direction and then by pixel.

    Returns:
        (E,) int32 edges and (E,) float32 weights; edges of infinite weight are left out.
    """
    num = weights.shape[1]
    keys = np.empty(weights.size, np.uint64)
    count = 0
    for d in range(len(weights)):
        for pixel in range(num):
            if weights[d, pixel] != _NO_EDGE:
                bits = weights[d, pixel : pixel + 1].view(np.uint32)[0]
                keys[count] = (np.uint64(bits) << np.uint64(32)) | np.uint64(4 * pixel + d)
                count += 1
    keys = keys[:count]
    other = np.empty_like(keys)
    for digit in range(3):
        _scatter(keys, other, np.uint64(32 + digit * _RADIX_BITS))
        keys, other = other, keys
    edges, sorted_weights = np.empty(count, np.int32), np.empty(count, np.float32)
    bits_out = sorted_weights.view(np.uint32)
    for e in range(count):
        edges[e] = np.int32(keys[e] & np.uint64(0xFFFFFFFF))
        bits_out[e] = np.uint32(keys[e] >> np.uint64(32))
    return edges, sorted_weights


@compiled
def _scatter(keys: Array, out: Array, shift: Any) -> None:
    mask = np.uint64((1 << _RADIX_BITS) - 1)
    starts = np.zeros((1 << _RADIX_BITS) + 1, np.int64)
    for key in keys:
        starts[((key >> shift) & mask) + np.uint64(1)] += 1
    for digit in range(1 << _RADIX_BITS):
        starts[digit + 1] += starts[digit]
    for key in keys:
        digit = (key >> shift) & mask
        out[starts[digit]] = key
        starts[digit] += 1


@compiled
def root(parents: Array, node: int) -> int:
    """Return the representative of a node's component, halving the path to it."""
    while parents[node] != node:
        parents[node] = parents[parents[node]]
        node = parents[node]
    return node


@compiled
def share(
    edges: Array, weights: Array, width: int, k: float, nodes: Array
) -> tuple[Array, Array, Array, Array]:
    """Join pixels along sorted edges as far as every scale from `k` on would.

    What joins at the smallest scale joins at all. From the first edge on that does not, the two components
    are left alone, and so are those that an edge connects with them: their further way depends on the
    scale.

    Args:
        edges: (E,) int32 codes, lightest first.
        weights: (E,) float32.
        width: pixels in a row.
        k: the smallest scale.
        nodes: (N,) int32 to be filled with the component of each pixel, numbered in their order.

    Returns:
        (M,) int32 pixels of each component, (M,) float32 the heaviest edge within it, and of the edges
        that are left (F, 2) int32 the components and (F,) float32 the weights.
    """
    offsets = np.array([1, width, width + 1, 1 - width], np.int32)
    parents, sizes = np.arange(len(nodes)).astype(np.int32), np.ones(len(nodes), np.int32)
    heaviest, limits = np.zeros(len(nodes), np.float32), np.full(len(nodes), np.float32(k), np.float32)
    left = np.empty(len(edges), np.int32)
    count = 0
    for e in range(len(edges)):
        pixel = edges[e] >> 2
        a, b = root(parents, pixel), root(parents, pixel + offsets[edges[e] & 3])
        if a == b:
            continue
        if weights[e] <= limits[a] and weights[e] <= limits[b]:
            a, b = (a, b) if sizes[a] >= sizes[b] else (b, a)
            parents[b] = a
            sizes[a] += sizes[b]
            heaviest[a] = weights[e]
            limits[a] = weights[e] + np.float32(k / sizes[a])
        else:
            limits[a] = limits[b] = _LEFT_ALONE
            left[count] = e
            count += 1
    num = number(parents, nodes)
    kept_sizes, kept_heaviest = np.empty(num, np.int32), np.empty(num, np.float32)
    for pixel in range(len(nodes)):
        if parents[pixel] == pixel:
            kept_sizes[nodes[pixel]], kept_heaviest[nodes[pixel]] = sizes[pixel], heaviest[pixel]
    ends = np.empty((count, 2), np.int32)
    for row in range(count):
        pixel = edges[left[row]] >> 2
        ends[row, 0], ends[row, 1] = nodes[pixel], nodes[pixel + offsets[edges[left[row]] & 3]]
    return kept_sizes, kept_heaviest, ends, weights[left[:count]]


@compiled
def number(parents: Array, names: Array) -> int:
    """Fill (N,) int32 names of the N nodes of a forest with the numbers of their components.

    Components are numbered in the order in which they are met.

    Returns:
        How many there are.
    """
    names[:] = -1
    num = 0
    for node in range(len(parents)):
        top = root(parents, node)
        if names[top] < 0:
            names[top] = num
            num += 1
        names[node] = names[top]
    return num


@compiled
def join(ends: Array, weights: Array, k: float, min_size: int, sizes: Array, heaviest: Array) -> Array:
    """Join nodes to components along sorted edges (Felzenszwalb and Huttenlocher), small ones afterwards.

    Args:
        ends: (E, 2) int32 nodes, lightest edge first.
        weights: (E,) float32.
        k: the scale; an edge joins two components where its weight is at most the heaviest within
            either plus k over that one's size.
        min_size: components with fewer pixels are joined to others along the lightest edges.
        sizes: (M,) int32 pixels of the nodes; used up.
        heaviest: (M,) float32 edge within each node.

    Returns:
        (M,) int32 forest of the nodes.
    """
    parents = np.arange(len(sizes)).astype(np.int32)
    limits = np.empty(len(sizes), np.float32)
    for node in range(len(sizes)):
        limits[node] = heaviest[node] + np.float32(k / sizes[node])
    refused = np.empty(len(ends), np.int32)
    num_refused = 0
    for e in range(len(ends)):
        a, b = root(parents, ends[e, 0]), root(parents, ends[e, 1])
        if a == b:
            continue
        if weights[e] <= limits[a] and weights[e] <= limits[b]:
            a, b = (a, b) if sizes[a] >= sizes[b] else (b, a)
            parents[b] = a
            sizes[a] += sizes[b]
            limits[a] = weights[e] + np.float32(k / sizes[a])
        else:
            refused[num_refused] = e
            num_refused += 1
    for e in refused[:num_refused]:
        a, b = root(parents, ends[e, 0]), root(parents, ends[e, 1])
        if a != b and (sizes[a] < min_size or sizes[b] < min_size):
            a, b = (a, b) if sizes[a] >= sizes[b] else (b, a)
            parents[b] = a
            sizes[a] += sizes[b]
    return parents
