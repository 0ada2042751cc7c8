"""EdgeBoxes' released rules, written down slowly: lists, dictionaries and single-precision numbers.

The released program computes in float32. Sums are therefore taken in its order: the sides of a box are moved
by comparing scores that may differ by rounding alone. Cosines and powers are rounded once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np

Pixel = tuple[int, int]
Box = tuple[int, int, int, int]
"""Top, left, bottom, right: the last row and column belong to it, and its sides are their differences."""

f = np.float32
HALF_TURN = f(math.pi)
WEAKEST = f(0.05)


def by_column(pixel: Pixel) -> Pixel:
    return pixel[1], pixel[0]


def around(pixel: Pixel, reach: int) -> Iterator[Pixel]:
    row, column = pixel
    for across in range(-reach, reach + 1):
        for down in range(-reach, reach + 1):
            if down or across:
                yield row + down, column + across


def turn(a: np.float32, b: np.float32) -> np.float32:
    share = abs(a - b) / HALF_TURN
    return f(1) - share if share > f(0.5) else share


def cosine(angle: np.float32) -> np.float32:
    return f(math.cos(float(angle)))


def power(base: np.float32, exponent: float) -> np.float32:
    return f(float(base) ** float(f(exponent)))


def added(values: Iterable[np.float32]) -> np.float32:
    total = f(0)
    for value in values:
        total = total + value
    return total


def groups(
    magnitude: np.ndarray, orientation: np.ndarray, min_edge: float, max_turn: float, min_mass: float
) -> list[list[Pixel]]:
    """Return the pixels of each group, column by column."""
    height, width = magnitude.shape
    edges = [
        (r, c) for c in range(1, width - 1) for r in range(1, height - 1) if magnitude[r, c] > f(min_edge)
    ]
    free = set(edges)
    grown = [grow(seed, free, orientation, max_turn) for seed in edges if seed in free]
    strong = [g for g in grown if added(magnitude[p] for p in sorted(g, key=by_column)) > f(min_mass)]
    owner = {pixel: number for number, group in enumerate(strong) for pixel in group}
    joined = True
    while joined:
        joined = False
        for pixel in edges:
            beside = [p for p in around(pixel, 1) if p in owner]
            if pixel not in owner and beside:
                straightest = min(beside, key=lambda p: turn(orientation[p], orientation[pixel]))
                owner[pixel] = owner[straightest]
                joined = True
    found: list[list[Pixel]] = [[] for _ in strong]
    for pixel in edges:
        if pixel in owner:
            found[owner[pixel]].append(pixel)
    return found


def grow(seed: Pixel, free: set[Pixel], orientation: np.ndarray, max_turn: float) -> list[Pixel]:
    """Take a group out of the free pixels; a pixel's turn is that from the member that saw it first."""
    group: list[Pixel] = []
    turns: dict[Pixel, np.float32] = {}
    total, latest = f(0), seed
    while total < f(max_turn):
        group.append(latest)
        free.remove(latest)
        for pixel in around(latest, 1):
            if pixel in free and pixel not in turns:
                turns[pixel] = turn(orientation[pixel], orientation[latest])
        waiting = [pixel for pixel in turns if pixel in free]
        if not waiting:
            break
        latest = min(waiting, key=turns.__getitem__)  # the first of equal ones
        total = total + turns[latest]
    return group


@dataclass
class Piece:
    """A group: its mass, its mean place and direction, and the pixel that stands for it."""

    mass: np.float32
    x: np.float32
    y: np.float32
    direction: np.float32
    place: Pixel


def piece(pixels: list[Pixel], magnitude: np.ndarray, orientation: np.ndarray) -> Piece:
    mass = added(magnitude[p] for p in pixels)
    cos = added(magnitude[p] * cosine(f(2) * orientation[p]) for p in pixels)
    sin = added(magnitude[p] * f(math.sin(float(f(2) * orientation[p]))) for p in pixels)
    return Piece(
        mass,
        added(magnitude[p] * f(p[1]) for p in pixels) / mass,
        added(magnitude[p] * f(p[0]) for p in pixels) / mass,
        f(math.atan2(float(sin / mass), float(cos / mass))) / f(2),
        pixels[-1],
    )


def affinity(one: Piece, other: Piece, gamma: float) -> np.float32:
    line = f(math.atan2(float(one.y - other.y), float(one.x - other.x))) + HALF_TURN / f(2)
    return power(abs(cosine(one.direction - line) * cosine(other.direction - line)), gamma)


def affinities(
    groups: list[list[Pixel]], pieces: list[Piece], shape: tuple[int, int], gamma: float
) -> list[dict[int, np.float32]]:
    """Return for each group its neighbours, in the order in which they are met, column by column.

    Only pixels two or more from the border look for neighbours, and only for groups that come later.
    """
    height, width = shape
    owner = {pixel: number for number, group in enumerate(groups) for pixel in group}
    near: list[dict[int, np.float32]] = [{} for _ in groups]
    for pixel in sorted(owner, key=by_column):
        if not (2 <= pixel[0] < height - 2 and 2 <= pixel[1] < width - 2):
            continue
        one = owner[pixel]
        for place in around(pixel, 2):
            other = owner.get(place, -1)
            if other > one and other not in near[one]:
                near[one][other] = near[other][one] = affinity(pieces[one], pieces[other], gamma)
    return near


def summed(plane: np.ndarray) -> np.ndarray:
    """Return sums of all that is above and left, without the first row and column, in float32."""
    height, width = plane.shape
    sums = [[f(0)] * (width + 1) for _ in range(height + 1)]
    for r in range(1, height):
        for c in range(1, width):
            sums[r + 1][c + 1] = plane[r, c] + sums[r + 1][c] + sums[r][c + 1] - sums[r][c]
    return np.array(sums, f)


def sum_in(sums: np.ndarray, box: Box) -> np.float32:
    top, left, bottom, right = box
    whole = sums[top, left] + sums[bottom + 1, right + 1]
    return whole - sums[top, right + 1] - sums[bottom + 1, left]


class Scorer:
    """Scores of boxes of one edge map."""

    def __init__(
        self,
        magnitude: np.ndarray,
        orientation: np.ndarray,
        *,
        min_edge: float = 0.1,
        max_turn: float = 0.5,
        min_group: float = 0.5,
        gamma: float = 2.0,
        kappa: float = 1.5,
        min_score: float = 0.01,
    ) -> None:
        self.height, self.width = magnitude.shape
        self.kappa, self.min_score = kappa, f(min_score)
        self.groups = groups(magnitude, orientation, min_edge, max_turn, min_group)
        self.pieces = [piece(group, magnitude, orientation) for group in self.groups]
        self.near = affinities(self.groups, self.pieces, magnitude.shape, gamma)
        self.members = np.full(magnitude.shape, -1)
        at_places = np.zeros(magnitude.shape, f)
        for number, group in enumerate(self.groups):
            self.members[tuple(np.transpose(group))] = number
            at_places[self.pieces[number].place] = self.pieces[number].mass
        self.group_sums = summed(at_places)
        self.edge_sums = summed(np.where(magnitude > f(min_edge), magnitude, f(0)))
        self.known: dict[Box, np.float32] = {}

    def inside(self, group: int, box: Box) -> bool:
        row, column = self.pieces[group].place
        return box[0] <= row <= box[2] and box[1] <= column <= box[3]

    def score(self, box: Box) -> np.float32:
        """Return the score; 0 where it is less than the least."""
        if box not in self.known:
            self.known[box] = self._score(box)
        return self.known[box]

    def _score(self, box: Box) -> np.float32:
        top, left, bottom, right = box
        down, across = (bottom - top) // 2, (right - left) // 2
        if bottom <= top or right <= left or down + across == 0:
            return f(0)
        y, x = top + down // 2, left + across // 2
        value = sum_in(self.group_sums, box) - sum_in(self.edge_sums, (y, x, y + down, x + across))
        norm = power(f(1) / f(down + across), self.kappa)
        if value * norm < self.min_score:
            return f(0)
        for group, weight in self.crossing(box).items():
            if self.inside(group, box):
                value = value - weight * self.pieces[group].mass
        return value * norm if value * norm >= self.min_score else f(0)

    def crossing(self, box: Box) -> dict[int, np.float32]:
        """Return what is on the border, with weight 1, and what continues it, with less."""
        top, left, bottom, right = box
        columns, rows = slice(left, right + 1), slice(top, bottom + 1)
        on_border = (
            self.members[line].tolist()
            for line in ((top, columns), (bottom, columns), (rows, left), (rows, right))
        )
        weights = {group: f(1) for line in on_border for group in line if group >= 0}
        order = list(weights)
        at = 0
        while at < len(order):
            here = order[at]
            at += 1
            for other, value in self.near[here].items():
                weight = weights[here] * value
                if weight < WEAKEST:
                    continue
                if other not in weights:
                    if self.inside(other, box):
                        weights[other] = weight
                        order.append(other)
                elif weight > weights[other]:
                    weights[other] = weight
                    at = min(at, order.index(other))
        return weights


def refine(
    box: Box, score: Callable[[Box], np.float32], height: int, width: int, alpha: float
) -> tuple[Box, np.float32]:
    best = score(box)
    down, across = (int(f(box[i + 2] - box[i]) * step_share(alpha)) for i in (0, 1))
    while True:
        down, across = down // 2, across // 2
        if down <= 2 and across <= 2:
            return box, best
        for side, by, last in (
            (0, down, height - 1),
            (2, down, height - 1),
            (1, across, width - 1),
            (3, across, width - 1),
        ):
            for sign in (-1, 1):
                moved = list(box)
                moved[side] = min(max(moved[side] + sign * max(1, by), 0), last)
                value = score((moved[0], moved[1], moved[2], moved[3]))
                if value > best:
                    box, best = (moved[0], moved[1], moved[2], moved[3]), value
                    break


def step_share(alpha: float) -> np.float32:
    return (f(1) - f(alpha)) / (f(1) + f(alpha))


def shapes(height: int, width: int, alpha: float, max_ratio: float, min_area: float) -> list[tuple[int, int]]:
    """Return the heights and widths of the boxes looked at, by size."""
    least, size_step = f(math.sqrt(f(min_area))), f(math.sqrt(f(1) / f(alpha)))
    shape_step = (f(1) + f(alpha)) / (f(2) * f(alpha))
    most = int(f(math.log(f(max_ratio))) / f(math.log(shape_step * shape_step)))
    sizes = math.ceil(f(math.log(f(max(height, width)) / least)) / f(math.log(size_step)))
    found = []
    for size in range(sizes):
        side = least * power(size_step, size)
        for shape in range(-most, most + 1):
            found.append((int(side / power(shape_step, shape)), int(side * power(shape_step, shape))))
    return found


def grid(height: int, width: int, alpha: float, max_ratio: float, min_area: float) -> list[Box]:
    """Return the boxes looked at, in this order: by size, shape, column and row."""
    return [
        (top, left, min(top + tall, height - 1), min(left + wide, width - 1))
        for tall, wide in shapes(height, width, alpha, max_ratio, min_area)
        for left in starts(width, wide, alpha)
        for top in starts(height, tall, alpha)
    ]


def starts(room: int, side: int, alpha: float) -> range:
    step = max(2, int(f(side) * step_share(alpha)))
    return range(0, room - side + step, step)


def suppressed(boxes: np.ndarray, beta: float, eta: float, at_most: int) -> list[int]:
    """Return the positions of the boxes that stay; they are best first."""
    kept: list[int] = []
    limit = f(beta)
    for position, (top, left, bottom, right) in enumerate(boxes.tolist()):
        if len(kept) == at_most:
            break
        others = boxes[kept]
        sides = np.minimum(others[:, 2:], (bottom, right)) - np.maximum(others[:, :2], (top, left))
        shared = sides.clip(0).prod(axis=1).astype(f)
        areas = (others[:, 2:] - others[:, :2]).prod(axis=1).astype(f)
        if (shared / (f((bottom - top) * (right - left)) + areas - shared) <= limit).all():
            kept.append(position)
            if limit > f(0.5):
                limit = limit * f(eta)
    return kept


def edge_boxes(
    magnitude: np.ndarray,
    orientation: np.ndarray,
    *,
    alpha: float = 0.65,
    beta: float = 0.75,
    eta: float = 1.0,
    max_boxes: int = 1000,
    max_ratio: float = 3.0,
    min_area: float = 1000.0,
) -> tuple[np.ndarray, np.ndarray]:
    """Return (N, 4) boxes and their scores, best first; of equal scores the box that is looked at first."""
    scorer = Scorer(magnitude, orientation)
    looked_at = grid(*magnitude.shape, alpha, max_ratio, min_area)
    refined = [
        refine(box, scorer.score, *magnitude.shape, alpha) for box in looked_at if scorer.score(box) > 0
    ]
    refined.sort(key=lambda pair: -pair[1])
    boxes = np.array([box for box, _ in refined]).reshape(-1, 4)
    stay = suppressed(boxes, beta, eta, max_boxes)
    return boxes[stay], np.array([score for _, score in refined], f)[stay]
