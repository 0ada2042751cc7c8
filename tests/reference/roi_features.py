"""RoIPool and RoIAlign of one channel and one region, as loops over Python numbers (float64)."""

from __future__ import annotations

import math

Map = list[list[float]]
Box = list[float]


def round_half_away(value: float) -> int:
    return int(math.copysign(math.floor(abs(value) + 0.5), value))


def bin_cells(cells: Map, box: Box, scale: float, size: int, row: int, column: int) -> list[tuple[int, int]]:
    """Return the (y, x) of a bin's cells inside the map, row by row."""
    x1, y1, x2, y2 = (round_half_away(edge * scale) for edge in box)
    bin_w, bin_h = max(x2 - x1 + 1, 1) / size, max(y2 - y1 + 1, 1) / size
    ys = range(y1 + math.floor(row * bin_h), y1 + math.ceil((row + 1) * bin_h))
    xs = range(x1 + math.floor(column * bin_w), x1 + math.ceil((column + 1) * bin_w))
    return [(y, x) for y in ys if 0 <= y < len(cells) for x in xs if 0 <= x < len(cells[0])]


def roi_pool(cells: Map, box: Box, scale: float, size: int) -> Map:
    def pooled(row: int, column: int) -> float:
        inside = [cells[y][x] for y, x in bin_cells(cells, box, scale, size, row, column)]
        return max(inside, default=0.0)

    return [[pooled(row, column) for column in range(size)] for row in range(size)]


def add_roi_pool_gradient(total: Map, cells: Map, box: Box, scale: float, gradient: Map) -> None:
    """Add to each cell of `total` the gradient of the bins whose first maximum it is."""
    size = len(gradient)
    for row in range(size):
        for column in range(size):
            inside = bin_cells(cells, box, scale, size, row, column)
            if inside:
                y, x = max(inside, key=lambda cell: cells[cell[0]][cell[1]])  # the first of equal ones
                total[y][x] += gradient[row][column]


def bilinear(cells: Map, y: float, x: float) -> float:
    height, width = len(cells), len(cells[0])
    if y < -1 or y > height or x < -1 or x > width:
        return 0.0
    y, x = min(max(y, 0.0), height - 1.0), min(max(x, 0.0), width - 1.0)
    top, left = int(y), int(x)
    bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
    upper = cells[top][left] * (1 - (x - left)) + cells[top][right] * (x - left)
    lower = cells[bottom][left] * (1 - (x - left)) + cells[bottom][right] * (x - left)
    return upper * (1 - (y - top)) + lower * (y - top)


def roi_align(cells: Map, box: Box, scale: float, size: int, ratio: int, aligned: bool) -> Map:
    x1, y1, x2, y2 = (edge * scale - (0.5 if aligned else 0.0) for edge in box)
    roi_w, roi_h = x2 - x1, y2 - y1
    if not aligned:
        roi_w, roi_h = max(roi_w, 1.0), max(roi_h, 1.0)
    bin_w, bin_h = roi_w / size, roi_h / size
    grid_w = ratio or max(math.ceil(bin_w), 0)
    grid_h = ratio or max(math.ceil(bin_h), 0)

    def pooled(row: int, column: int) -> float:
        samples = [
            bilinear(
                cells,
                y1 + row * bin_h + (i + 0.5) * bin_h / grid_h,
                x1 + column * bin_w + (j + 0.5) * bin_w / grid_w,
            )
            for i in range(grid_h)
            for j in range(grid_w)
        ]
        return sum(samples) / max(len(samples), 1)

    return [[pooled(row, column) for column in range(size)] for row in range(size)]
