"""Spatial pyramid pooling of one channel and one region, as SPP-net's code does it: counted from 1."""

from __future__ import annotations

import math

Map = list[list[float]]


def first_and_last(low: float, high: float, stride: int, length: int) -> tuple[int, int]:
    first = math.floor(low / stride + 0.5) + 1
    last = math.ceil(high / stride - 0.5) + 1
    first, last = min(max(first, 1), length), min(max(last, 1), length)
    if first > last:
        first = last = (first - 1 + last - 1) // 2 + 1
    return first, last


def spatial_pyramid(cells: Map, box: list[float], stride: int, levels: list[int]) -> list[float]:
    left, right = first_and_last(box[0], box[2], stride, len(cells[0]))
    top, bottom = first_and_last(box[1], box[3], stride, len(cells))
    width, height = right - left + 1, bottom - top + 1
    pooled = []
    for level in levels:
        for row in range(level):
            for column in range(level):
                ys = range(row * height // level, -(-(row + 1) * height // level))
                xs = range(column * width // level, -(-(column + 1) * width // level))
                pooled.append(max(cells[top - 1 + y][left - 1 + x] for y in ys for x in xs))
    return pooled
