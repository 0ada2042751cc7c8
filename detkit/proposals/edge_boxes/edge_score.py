"""Score of a box: contours wholly inside it, less those that cross its border."""

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
        group_sums: (H + 1, W + 1) float64, masses of the groups placed above and left of a pixel.
        edge_sums: (H + 1, W + 1) float64, edge magnitudes above and left of a pixel.
        masses: (G,) float64.
        places: (G, 2) int32 row and column.
        near: the affinities.
    """

    rows: Runs
    columns: Runs
    group_sums: NDArray[np.float64]
    edge_sums: NDArray[np.float64]
    masses: NDArray[np.float64]
    places: NDArray[np.int32]
    near: Affinities


class Scratch(NamedTuple):
    """Room for the search over G groups; one for each thread.

    Attributes:
        weights: (G,) float64, how much a group belongs to a contour that crosses the border.
        boxes: (G,) int64, the box for which the weight was set.
        queue: (G,) int32 ring of the groups whose neighbours are to be visited.
        queued: (G,) bool, which are in it.
        reached: (G,) int32, the groups that have a weight.
        box: (1,) int64, the number of the present box.
    """

    weights: NDArray[np.float64]
    boxes: NDArray[np.int64]
    queue: NDArray[np.int32]
    queued: NDArray[np.bool_]
    reached: NDArray[np.int32]
    box: NDArray[np.int64]


def score_tables(magnitude: Plane, groups: EdgeGroups, near: Affinities, *, min_edge: float) -> ScoreTables:
    """Prepare an image for the scores of its boxes.

    Args:
        magnitude: (H, W) of the thinned contours.
        groups: their groups.
        near: affinities of the groups.
        min_edge: pixels of this magnitude or less count nothing.

    Example:
        >>> members = np.full((8, 8), -1, np.int32)
        >>> members[2:6, 2] = 0
        >>> centre, place = np.array([[2.0, 3.5]]), np.array([[5, 2]], np.int32)
        >>> groups = EdgeGroups(members, np.array([4.0]), centre, np.zeros(1), place)
        >>> near = Affinities(np.zeros(2, np.int64), np.zeros(0, np.int32), np.zeros(0))
        >>> tables = score_tables((members + 1).astype(np.float32), groups, near, min_edge=0.1)
        >>> inside, across = (1, 1, 7, 5), (1, 1, 4, 5)
        >>> [round(box_score(tables, scratch_for(1), box, 1.5, 0.01), 4) for box in (inside, across)]
        [0.0894, 0.0]
    """
    at_places = np.zeros(magnitude.shape)
    at_places[groups.places[:, 0], groups.places[:, 1]] = groups.masses
    edges = np.where(magnitude > min_edge, magnitude, 0).astype(np.float64)
    rows, columns = _runs(groups.members), _runs(np.ascontiguousarray(groups.members.T))
    return ScoreTables(rows, columns, _summed(at_places), _summed(edges), groups.masses, groups.places, near)


def scratch_for(count: int) -> Scratch:
    """Return room for the search over so many groups."""
    return Scratch(
        weights=np.zeros(count),
        boxes=np.full(count, -1, dtype=np.int64),
        queue=np.zeros(count, dtype=np.int32),
        queued=np.zeros(count, dtype=np.bool_),
        reached=np.zeros(count, dtype=np.int32),
        box=np.zeros(1, dtype=np.int64),
    )


def _summed(plane: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.pad(plane.cumsum(axis=0).cumsum(axis=1), ((1, 0), (1, 0)))


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
    tables: ScoreTables, scratch: Scratch, box: tuple[int, int, int, int], kappa: float, least: float
) -> float:
    """Return the score of a box (Zitnick and Dollar, "Edge Boxes", ECCV 2014, equations 2 to 5).

    The masses of the groups inside are summed, those of the groups that cross the border or continue one
    that does are taken off in the measure in which they do, and so are the edges in the box's middle, which
    belong to its inside rather than to its outline. The sum is divided by a quarter of the
    perimeter, to the power of `kappa`.

    Args:
        tables: of the image.
        scratch: room for the search.
        box: row and column of the first pixel, row and column after the last, inside the image.
        kappa: how much the size of a box counts.
        least: lower scores are 0; many are known to be so without the search.
    """
    top, left, bottom, right = box
    half_width, half_height = (right - left) // 2, (bottom - top) // 2
    if right <= left or bottom <= top or half_width + half_height == 0:
        return 0.0
    scale = 1.0 / (half_width + half_height) ** kappa
    value = _sum_in(tables.group_sums, top, left, bottom, right)
    y, x = top + half_height // 2, left + half_width // 2
    value -= _sum_in(tables.edge_sums, y, x, y + half_height, x + half_width)
    if value * scale < least:
        return 0.0
    value -= _crossing_mass(tables, scratch, box)
    return value * scale if value * scale >= least else 0.0


@compiled
def _sum_in(sums: NDArray[np.float64], top: int, left: int, bottom: int, right: int) -> float:
    total: float = sums[bottom, right] - sums[top, right] - sums[bottom, left] + sums[top, left]
    return total


@compiled
def _crossing_mass(tables: ScoreTables, scratch: Scratch, box: tuple[int, int, int, int]) -> float:
    """Return the mass inside a box of what crosses its border or continues what does."""
    top, left, bottom, right = box
    scratch.box[0] += 1
    waiting = 0
    waiting = _meet(tables.rows, scratch, top, left, right, waiting)
    waiting = _meet(tables.rows, scratch, bottom - 1, left, right, waiting)
    waiting = _meet(tables.columns, scratch, left, top, bottom, waiting)
    waiting = _meet(tables.columns, scratch, right - 1, top, bottom, waiting)
    reached = _follow(tables, scratch, box, waiting)
    mass = 0.0
    for position in range(reached):
        group = scratch.reached[position]
        if _is_inside(tables.places, group, box):
            mass += scratch.weights[group] * tables.masses[group]
    return mass


@compiled
def _meet(runs: Runs, scratch: Scratch, line: int, start: int, stop: int, waiting: int) -> int:
    """Give the groups on a part of a line the weight 1; return how many groups have it by now."""
    last = runs.before[line, stop - 1] + (runs.members[line, stop - 1] >= 0)
    for run in range(runs.before[line, start], last):
        group = runs.groups[run]
        if scratch.boxes[group] != scratch.box[0]:
            scratch.boxes[group] = scratch.box[0]
            scratch.weights[group] = 1.0
            scratch.reached[waiting] = scratch.queue[waiting] = group
            scratch.queued[group] = True
            waiting += 1
    return waiting


@compiled
def _follow(tables: ScoreTables, scratch: Scratch, box: tuple[int, int, int, int], waiting: int) -> int:
    """Give groups inside the greatest product of affinities along a path; return how many have a weight."""
    head, reached, room = 0, waiting, len(scratch.queue)
    while waiting > 0:
        group = scratch.queue[head]
        scratch.queued[group] = False
        head, waiting = (head + 1) % room, waiting - 1
        for near in range(tables.near.starts[group], tables.near.starts[group + 1]):
            other = tables.near.others[near]
            weight = scratch.weights[group] * tables.near.values[near]
            if weight < WEAKEST or not _is_inside(tables.places, other, box):
                continue
            if scratch.boxes[other] != scratch.box[0]:
                scratch.boxes[other] = scratch.box[0]
                scratch.reached[reached] = other
                reached += 1
            elif weight <= scratch.weights[other]:
                continue
            scratch.weights[other] = weight
            if not scratch.queued[other]:
                scratch.queued[other] = True
                scratch.queue[(head + waiting) % room] = other
                waiting += 1
    return reached


@compiled
def _is_inside(places: NDArray[np.int32], group: int, box: tuple[int, int, int, int]) -> bool:
    top, left, bottom, right = box
    row, column = places[group]
    return bool(top <= row < bottom and left <= column < right)
