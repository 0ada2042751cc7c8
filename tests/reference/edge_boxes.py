"""EdgeBoxes written down as its rules are said, with dictionaries and no tables."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

Pixel = tuple[int, int]
Box = tuple[int, int, int, int]


def fold(a: float, b: float) -> float:
    share = abs(a - b) / math.pi
    return min(share, 1 - share)


def neighbours(pixel: Pixel) -> list[Pixel]:
    row, column = pixel
    return [(row + i, column + j) for j in (-1, 0, 1) for i in (-1, 0, 1) if i or j]


def groups(
    magnitude: np.ndarray, orientation: np.ndarray, min_edge: float, max_turn: float, min_mass: float
) -> list[set[Pixel]]:
    height, width = magnitude.shape
    order = [(r, c) for c in range(1, width - 1) for r in range(1, height - 1) if magnitude[r, c] > min_edge]
    free = set(order)
    found: list[set[Pixel]] = []
    for seed in order:
        if seed not in free:
            continue
        group, seen, total = {seed}, [], 0.0
        free.remove(seed)
        latest = seed
        while True:
            seen += [(fold(orientation[latest], orientation[p]), p) for p in neighbours(latest) if p in free]
            left = [pair for pair in seen if pair[1] in free]
            if not left:
                break
            angle, latest = min(left, key=lambda pair: pair[0])
            total += angle
            if total >= max_turn:
                break
            group.add(latest)
            free.remove(latest)
        found.append(group)
    strong = [g for g in found if sum(float(magnitude[p]) for p in g) > min_mass]
    number = {p: i for i, g in enumerate(strong) for p in g}
    changed = True
    while changed:
        changed = False
        for pixel in order:
            near = [p for p in neighbours(pixel) if p in number]
            if pixel not in number and near:
                number[pixel] = number[min(near, key=lambda p: fold(orientation[pixel], orientation[p]))]
                changed = True
    return [{p for p, i in number.items() if i == g} for g in range(len(strong))]


def mean_direction(group: set[Pixel], magnitude: np.ndarray, orientation: np.ndarray) -> float:
    total = sum(float(magnitude[p]) * np.exp(2j * float(orientation[p])) for p in group)
    return float(np.angle(total)) / 2


def mean_place(group: set[Pixel], magnitude: np.ndarray) -> np.ndarray:
    weights = np.array([float(magnitude[p]) for p in group])
    return (weights[:, None] * np.array(list(group))).sum(0) / weights.sum()


def affinity(
    one: set[Pixel], other: set[Pixel], magnitude: np.ndarray, orientation: np.ndarray, gamma: float
) -> float:
    if not any(abs(r - i) <= 2 and abs(c - j) <= 2 for r, c in one for i, j in other):
        return 0.0
    down, across = mean_place(other, magnitude) - mean_place(one, magnitude)
    line = math.atan2(down, across) + math.pi / 2
    a, b = (mean_direction(g, magnitude, orientation) for g in (one, other))
    return abs(math.cos(a - line) * math.cos(b - line)) ** gamma


def score(
    pieces: list[set[Pixel]],
    table: np.ndarray,
    magnitude: np.ndarray,
    box: tuple[int, int, int, int],
    min_edge: float,
    kappa: float,
) -> float:
    """Return the score without a least one; the box is rows and columns from and to, the last left out."""
    top, left, bottom, right = box
    down, across = (bottom - top) // 2, (right - left) // 2

    def inside(group: set[Pixel]) -> bool:
        row, column = max(group, key=lambda p: (p[1], p[0]))
        return top <= row < bottom and left <= column < right

    border = {(r, c) for r in range(top, bottom) for c in range(left, right)} - {
        (r, c) for r in range(top + 1, bottom - 1) for c in range(left + 1, right - 1)
    }
    weights = np.array([1.0 if group & border else 0.0 for group in pieces])
    for _ in pieces:  # no path is longer
        for i in range(len(pieces)):
            for j in range(len(pieces)):
                product = weights[i] * table[i, j]
                if product >= 0.05 and inside(pieces[j]):
                    weights[j] = max(weights[j], product)
    mass = sum(
        (1 - weights[i]) * sum(float(magnitude[p]) for p in group)
        for i, group in enumerate(pieces)
        if inside(group)
    )
    y, x = top + down // 2, left + across // 2
    middle = magnitude[y : y + down, x : x + across].astype(float)
    return (mass - middle[middle > min_edge].sum()) / (down + across) ** kappa


def grid(height: int, width: int, alpha: float, max_ratio: float, min_area: float) -> list[Box]:
    """Return the boxes looked at: rows and columns from and to, the last left out."""
    boxes = []
    side, shape_step = math.sqrt(min_area), (1 + alpha) / (2 * alpha)
    while side < max(height, width):
        shape = 0
        while shape_step ** (2 * (shape + 1)) <= max_ratio:
            shape += 1
        for power in range(-shape, shape + 1):
            tall, wide = int(side / shape_step**power), int(side * shape_step**power)
            for left in starts(width, wide, alpha):
                for top in starts(height, tall, alpha):
                    boxes.append((top, left, min(top + tall, height), min(left + wide, width)))
        side /= math.sqrt(alpha)
    return boxes


def starts(room: int, side: int, alpha: float) -> list[int]:
    step = max(2, int(side * (1 - alpha) / (1 + alpha)))
    if side > room + step:
        return []
    found = [0]
    while found[-1] + side < room:
        found.append(found[-1] + step)
    return found


def refine(
    box: Box, score: Callable[[Box], float], height: int, width: int, alpha: float
) -> tuple[Box, float]:
    best = score(box)
    down, across = ((box[i + 2] - box[i]) * (1 - alpha) / (1 + alpha) for i in (0, 1))
    while True:
        down, across = down / 2, across / 2
        if max(down, across) <= 2:
            return box, best
        for side, step, room in (
            (0, down, height),
            (2, down, height),
            (1, across, width),
            (3, across, width),
        ):
            for sign in (-1, 1):
                moved = list(box)
                moved[side] = min(max(moved[side] + sign * max(1, int(step)), 0), room)
                value = score((moved[0], moved[1], moved[2], moved[3]))
                if value > best:
                    box, best = (moved[0], moved[1], moved[2], moved[3]), value
                    break
