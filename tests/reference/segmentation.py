"""Graph-based segmentation and hierarchical grouping as their papers state them, in plain Python."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

DIRECTIONS = {4: ((0, 1), (1, 0)), 8: ((0, 1), (1, 0), (1, 1), (-1, 1))}

Box = tuple[int, int, int, int]


def weighted_edges(planes: NDArray[np.float32], neighbours: int) -> list[tuple[float, int, int, int]]:
    """Return (weight, direction, pixel, other pixel) of all edges in this order."""
    _, height, width = planes.shape
    edges = []
    for d, (dy, dx) in enumerate(DIRECTIONS[neighbours]):
        for y in range(height):
            for x in range(width):
                if 0 <= y + dy < height and x + dx < width:
                    difference = planes[:, y, x] - planes[:, y + dy, x + dx]
                    weight = np.float32(0)
                    for part in difference:
                        weight += part * part
                    edges.append((float(np.sqrt(weight)), d, y * width + x, (y + dy) * width + x + dx))
    return sorted(edges)


def segment(planes: NDArray[np.float32], k: float, min_size: int, neighbours: int) -> list[set[int]]:
    """Return the components of (C, H, W) as sets of pixel numbers, by Felzenszwalb and Huttenlocher."""
    edges = weighted_edges(planes, neighbours)
    component = {pixel: {pixel} for pixel in range(planes[0].size)}
    heaviest = {id(part): 0.0 for part in component.values()}

    def merge(a: set[int], b: set[int], weight: float) -> None:
        a |= b
        for pixel in b:
            component[pixel] = a
        heaviest[id(a)] = weight

    for weight, _, p, q in edges:
        a, b = component[p], component[q]
        if a is b:
            continue
        if weight <= min(heaviest[id(a)] + k / len(a), heaviest[id(b)] + k / len(b)):
            merge(a, b, weight)
    for weight, _, p, q in edges:
        a, b = component[p], component[q]
        if a is not b and min(len(a), len(b)) < min_size:
            merge(a, b, weight)
    unique = {id(part): part for part in component.values()}
    return sorted(unique.values(), key=min)


def similarity(
    terms: str, a: dict[str, NDArray[np.float64]], b: dict[str, NDArray[np.float64]], image_size: int
) -> float:
    """Return the mean of the terms named by letters: colour, texture, size, fill."""
    union = join_boxes(a["box"], b["box"])
    covered = (union[2] - union[0]) * (union[3] - union[1])
    size = float(a["size"] + b["size"])
    values = {
        "c": lambda: np.minimum(a["colour"], b["colour"]).sum(),
        "t": lambda: np.minimum(a["texture"], b["texture"]).sum(),
        "s": lambda: 1 - size / image_size,
        "f": lambda: 1 - (covered - size) / image_size,
    }
    return math.fsum(float(values[term]()) for term in terms) / len(terms)


def join_boxes(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.concatenate((np.minimum(a[:2], b[:2]), np.maximum(a[2:], b[2:])))


def group(
    regions: list[dict[str, NDArray[np.float64]]],
    pairs: list[tuple[int, int]],
    alike: Callable[[dict[str, NDArray[np.float64]], dict[str, NDArray[np.float64]]], float],
) -> list[Box]:
    """Return the boxes of merged regions: algorithm 1 of Uijlings et al., all pairs searched each time."""
    regions = list(regions)
    edges = [(alike(regions[a], regions[b]), a, b) for a, b in pairs]
    boxes = []
    while edges:
        best = max(range(len(edges)), key=lambda row: (edges[row][0], -row))
        _, a, b = edges[best]
        first, second = regions[a], regions[b]
        size = first["size"] + second["size"]
        merged = {
            key: (first["size"] * first[key] + second["size"] * second[key]) / size
            for key in ("colour", "texture")
        }
        merged |= {"size": size, "box": join_boxes(first["box"], second["box"])}
        touched = {p if q in (a, b) else q for _, p, q in edges if {p, q} & {a, b}} - {a, b}
        regions.append(merged)
        new = len(regions) - 1
        edges = [edge for edge in edges if not {edge[1], edge[2]} & {a, b}]
        edges += [(alike(merged, regions[other]), new, other) for other in sorted(touched)]
        boxes.append(tuple(int(side) for side in merged["box"]))
    return boxes
