"""Score of a box: contours wholly inside it, less those that cross its border.

In single precision and the order of the authors' program, as the groups are.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from detkit.proposals.edge_boxes.edge_groups import WEAKEST, Affinities, EdgeGroups
from detkit.proposals.edge_boxes.edge_map import Plane
from detkit.runtime.compiled import compiled


class Runs(NamedTuple):
    """The groups met along each of A lines of B pixels, without visiting every pixel.

    Attributes:
        before: (A, B) int32, how many runs have ended before a pixel, over all lines.
        members: (A, B) int32, the group at a pixel, -1 for none.
        groups: (R,) int32, the group of each run.
    """

    before: NDArray[np.int32]
    members: NDArray[np.int32]
    groups: NDArray[np.int32]


class ScoreTables(NamedTuple):
    """Look-up tables for the score of any box of one image.

    Attributes:
        rows: the groups met along the rows.
        columns: the groups met along the columns.
        group_sums: (H + 1, W + 1) float32, masses of the groups placed above and left of a pixel.
        edge_sums: (H + 1, W + 1) float32, edge magnitudes above and left of a pixel.
        norms: (N,) float32, what the sum of a box is multiplied by, by half its height and half its width.
        masses: (G,) float32.
        places: (G, 2) int32 row and column.
        near: the affinities.
    """

    rows: Runs
    columns: Runs
    group_sums: NDArray[np.float32]
    edge_sums: NDArray[np.float32]
    norms: NDArray[np.float32]
    masses: NDArray[np.float32]
    places: NDArray[np.int32]
    near: Affinities


class Scratch(NamedTuple):
    """Room for the search over G groups; one for each thread.

    Attributes:
        reached: (G,) int32, the groups that belong to a contour which crosses the border, as they are met.
        weights: (G,) float32, how much each of them does.
        pending: (G,) bool, whether the neighbours of each of them are to be visited.
        positions: (G,) int32, where each group stands among them.
        boxes: (G,) int64, the box for which it stands there.
        box: (1,) int64, the number of the present box.
    """

    reached: NDArray[np.int32]
    weights: NDArray[np.float32]
    pending: NDArray[np.bool_]
    positions: NDArray[np.int32]
    boxes: NDArray[np.int64]
    box: NDArray[np.int64]


def score_tables(
    magnitude: Plane, groups: EdgeGroups, near: Affinities, *, min_edge: float, kappa: float
) -> ScoreTables:
    """Prepare an image for the scores of its boxes.

    Args:
        magnitude: (H, W) of the thinned contours.
        groups: their groups.
        near: affinities of the groups.
        min_edge: pixels of this magnitude or less count nothing.
        kappa: how much the size of a box counts.

    Example:
        >>> members = np.full((8, 8), -1, np.int32)
        >>> members[2:6, 2] = 0
        >>> centre, place = np.array([[2, 3.5]], np.float32), np.array([[5, 2]], np.int32)
        >>> groups = EdgeGroups(members, np.array([4], np.float32), centre, np.zeros(1, np.float32), place)
        >>> near = Affinities(np.zeros(2, np.int64), np.zeros(0, np.int32), np.zeros(0, np.float32))
        >>> tables = score_tables((members + 1).astype(np.float32), groups, near, min_edge=0.1, kappa=1.5)
        >>> inside, across = (1, 1, 6, 4), (1, 1, 5, 4)
        >>> least = np.float32(0.01)
        >>> [round(box_score(tables, scratch_for(1), box, least), 4) for box in (inside, across)]
        [0.1925, 0.0]
    """
    height, width = magnitude.shape
    at_places = np.zeros(magnitude.shape, dtype=np.float32)
    at_places[groups.places[:, 0], groups.places[:, 1]] = groups.masses
    edges = np.where(magnitude > np.float32(min_edge), magnitude, np.float32(0))
    perimeters = np.arange(1, max(height // 2 + width // 2, 1) + 1, dtype=np.float32)
    norms = (np.float32(1) / perimeters).astype(np.float64) ** float(np.float32(kappa))
    return ScoreTables(
        rows=_runs(groups.members),
        columns=_runs(np.ascontiguousarray(groups.members.T)),
        group_sums=_summed(at_places),
        edge_sums=_summed(edges),
        norms=np.concatenate([[0], norms]).astype(np.float32),
        masses=groups.masses,
        places=groups.places,
        near=near,
    )


def scratch_for(count: int) -> Scratch:
    """Return room for the search over so many groups."""
    return Scratch(
        reached=np.zeros(count, dtype=np.int32),
        weights=np.zeros(count, dtype=np.float32),
        pending=np.zeros(count, dtype=np.bool_),
        positions=np.zeros(count, dtype=np.int32),
        boxes=np.full(count, -1, dtype=np.int64),
        box=np.zeros(1, dtype=np.int64),
    )


@compiled
def _summed(plane: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the (H + 1, W + 1) sums of what is above and left; the first row and column do not count."""
    height, width = plane.shape
    sums = np.zeros((height + 1, width + 1), dtype=np.float32)
    for row in range(1, height):
        for column in range(1, width):
            left, above, both = sums[row + 1, column], sums[row, column + 1], sums[row, column]
            sums[row + 1, column + 1] = plane[row, column] + left + above - both
    return sums


@compiled
def _runs(members: NDArray[np.int32]) -> Runs:
    lines, length = members.shape
    before = np.zeros((lines, length), dtype=np.int32)
    groups = np.empty(lines * length, dtype=np.int32)
    num = 0
    for line in range(lines):
        previous = -1
        for pixel in range(length):
            here = members[line, pixel]
            if here != previous and here >= 0:
                groups[num] = here
                num += 1
            before[line, pixel] = num - 1 if here >= 0 else num
            previous = here
    return Runs(before, members, groups[:num].copy())


@compiled
def box_score(
    tables: ScoreTables, scratch: Scratch, box: tuple[int, int, int, int], least: np.float32
) -> np.float32:
    """Return the score of a box (Zitnick and Dollar, "Edge Boxes", ECCV 2014, equations 2 to 5).

    The masses of the groups inside are summed, those of the groups that cross the border or continue one
    that does are taken off in the measure in which they do, and so are the edges in the box's middle, which
    belong to its inside rather than to its outline. The sum is divided by a quarter of the
    perimeter, to the power of kappa.

    Args:
        tables: of the image.
        scratch: room for the search.
        box: top and left, bottom and right, pixels of the image that all belong to the box: its border is
            what lies in these rows and columns. Its height is bottom - top.
        least: lower scores are 0; many are known to be so without the search.
    """
    top, left, bottom, right = box
    half_width, half_height = (right - left) // 2, (bottom - top) // 2
    if right <= left or bottom <= top or half_width + half_height == 0:
        return np.float32(0)
    norm = tables.norms[half_width + half_height]
    value = _sum_in(tables.group_sums, top, left, bottom, right)
    y, x = top + half_height // 2, left + half_width // 2
    value -= _sum_in(tables.edge_sums, y, x, y + half_height, x + half_width)
    if value * norm < least:
        return np.float32(0)
    for position in range(_cross(tables, scratch, box)):
        group = scratch.reached[position]
        if _is_inside(tables.places, group, box):
            value -= scratch.weights[position] * tables.masses[group]
    score: np.float32 = value * norm
    return score if score >= least else np.float32(0)


@compiled
def _sum_in(sums: NDArray[np.float32], top: int, left: int, bottom: int, right: int) -> np.float32:
    whole = sums[top, left] + sums[bottom + 1, right + 1]
    total: np.float32 = whole - sums[top, right + 1] - sums[bottom + 1, left]
    return total


@compiled
def _cross(tables: ScoreTables, scratch: Scratch, box: tuple[int, int, int, int]) -> int:
    """Weigh the groups that cross a box's border, and those inside that continue one; return how many."""
    top, left, bottom, right = box
    scratch.box[0] += 1
    reached = _meet(tables.rows, scratch, top, left, right, 0)
    reached = _meet(tables.rows, scratch, bottom, left, right, reached)
    reached = _meet(tables.columns, scratch, left, top, bottom, reached)
    reached = _meet(tables.columns, scratch, right, top, bottom, reached)
    return _follow(tables, scratch, box, reached)


@compiled
def _meet(runs: Runs, scratch: Scratch, line: int, start: int, end: int, reached: int) -> int:
    """Give the groups on a part of a line the weight 1; return how many groups have a weight by now."""
    last = runs.before[line, end] + (runs.members[line, end] >= 0)
    for run in range(runs.before[line, start], last):
        group = runs.groups[run]
        if scratch.boxes[group] != scratch.box[0]:
            _reach(scratch, group, np.float32(1), reached)
            reached += 1
    return reached


@compiled
def _reach(scratch: Scratch, group: int, weight: np.float32, position: int) -> None:
    scratch.boxes[group], scratch.positions[group] = scratch.box[0], position
    scratch.reached[position], scratch.weights[position] = group, weight
    scratch.pending[position] = True


@compiled
def _follow(tables: ScoreTables, scratch: Scratch, box: tuple[int, int, int, int], reached: int) -> int:
    """Give groups inside the greatest product of affinities along a path; return how many have a weight.

    The first whose weight is new comes first, for the order decides how the sum of the weights is rounded.
    """
    position = 0
    while position < reached:
        group, here = scratch.reached[position], scratch.weights[position]
        pending, scratch.pending[position] = scratch.pending[position], False
        position += 1
        if not pending:
            continue
        for near in range(tables.near.starts[group], tables.near.starts[group + 1]):
            weight = here * tables.near.values[near]
            if weight < WEAKEST:
                continue
            other = tables.near.others[near]
            if scratch.boxes[other] != scratch.box[0]:
                if _is_inside(tables.places, other, box):
                    _reach(scratch, other, weight, reached)
                    reached += 1
                continue
            again = scratch.positions[other]
            if weight > scratch.weights[again]:
                scratch.weights[again], scratch.pending[again] = weight, True
                position = min(position, again)
    return reached


@compiled
def _is_inside(places: NDArray[np.int32], group: int, box: tuple[int, int, int, int]) -> bool:
    top, left, bottom, right = box
    row, column = places[group]
    return bool(top <= row <= bottom and left <= column <= right)
