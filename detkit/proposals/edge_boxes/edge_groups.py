"""Groups of edge pixels that run nearly straight on, the pieces of contours, and their affinity."""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from detkit.proposals.edge_boxes.edge_map import EdgeMap, Plane
from detkit.runtime.compiled import compiled

_OUT, _FREE = -1, 0
_REACH_PX = 2
_BESIDE = 2 * _REACH_PX * (_REACH_PX + 1)  # half of the pixels within reach: each pair is seen once

WEAKEST = 0.05
"""A group is not followed to one to which the product of affinities is less than this."""


@dataclass(frozen=True)
class EdgeGroups:
    """G groups of edge pixels.

    Attributes:
        members: (H, W) int32, the group of each pixel, from 0; -1 for none.
        masses: (G,) float64 sum of the magnitudes.
        centres: (G, 2) float64 x y, mean weighted by magnitude.
        orientations: (G,) float64 mean direction across, weighted by magnitude, in (-pi/2, pi/2].
        places: (G, 2) int32 row and column of the last pixel, column by column: the group's place.
    """

    members: NDArray[np.int32]
    masses: NDArray[np.float64]
    centres: NDArray[np.float64]
    orientations: NDArray[np.float64]
    places: NDArray[np.int32]


class Affinities(NamedTuple):
    """The neighbours of each of G groups: those of group i are at starts[i] to starts[i + 1].

    Attributes:
        starts: (G + 1,) int64.
        others: (A,) int32, the neighbouring groups.
        values: (A,) float64 in [WEAKEST, 1].
    """

    starts: NDArray[np.int64]
    others: NDArray[np.int32]
    values: NDArray[np.float64]


def group_edges(edges: EdgeMap, *, min_edge: float, max_turn: float, min_mass: float) -> EdgeGroups:
    """Group edge pixels (Zitnick and Dollar, "Edge Boxes", ECCV 2014, section 3.1).

    From a pixel, column by column, a group takes in again and again that neighbour of any of its pixels
    that turns least from it, until the turns add up to the limit; the pixel that reaches it stays out.
    Pixels of groups that are too weak join the neighbouring group whose pixel beside them turns least.
    The outermost rows and columns belong to no group.

    Args:
        edges: the contours, thinned.
        min_edge: pixels of this magnitude or less belong to no group.
        max_turn: the limit in units of pi, where a turn is at most 0.5.
        min_mass: groups whose magnitudes sum to this or less are too weak.

    Example:
        >>> line = np.zeros((5, 9), np.float32)
        >>> line[2] = 1
        >>> edges = EdgeMap(line, np.full_like(line, np.pi / 2))
        >>> group_edges(edges, min_edge=0.1, max_turn=0.5, min_mass=0.5).masses
        array([7.])
    """
    # The limit in the map's own precision: 0.1 as float32 is more than 0.1 as float64.
    members, count = _grow(edges.magnitude, edges.orientation, np.float32(min_edge), max_turn)
    _dissolve(members, edges.magnitude, count, min_mass)
    _attach(members, edges.orientation)
    used, numbers = np.unique(members, return_inverse=True)
    members = (numbers.reshape(members.shape) - int((used <= _FREE).sum())).astype(np.int32)
    members = np.maximum(members, -1)
    sums, places = _summarise(members, edges.magnitude, edges.orientation, int((used > _FREE).sum()))
    masses = sums[:, 0].copy()
    return EdgeGroups(
        members, masses, sums[:, 1:3] / masses[:, None], np.arctan2(sums[:, 4], sums[:, 3]) / 2, places
    )


@compiled
def turn(first: float, second: float) -> float:
    """Return the angle between two directions in [0, pi), which have no sense, in units of pi: 0 to 0.5."""
    share = abs(first - second) / np.pi
    return min(share, 1 - share)


@compiled
def _grow(
    magnitude: Plane, orientation: Plane, min_edge: np.float32, max_turn: float
) -> tuple[NDArray[np.int32], int]:
    """Return the (H, W) groups, numbered from 1, and their number."""
    height, width = magnitude.shape
    members = np.full((height, width), _OUT, dtype=np.int32)
    for row in range(1, height - 1):
        for column in range(1, width - 1):
            if magnitude[row, column] > min_edge:
                members[row, column] = _FREE
    count = 0
    for column in range(1, width - 1):
        for row in range(1, height - 1):
            if members[row, column] == _FREE:
                count += 1
                _grow_one(members, orientation, row, column, count, max_turn)
    return members, count


@compiled
def _grow_one(
    members: NDArray[np.int32], orientation: Plane, row: int, column: int, number: int, max_turn: float
) -> None:
    total, seen = 0.0, 0
    members[row, column] = number
    # The least turn is on top; of equal ones the neighbour that was seen first.
    waiting = [(0.0, 0, row, column)]
    heapq.heappop(waiting)
    while True:
        for beside in range(column - 1, column + 2):
            for above in range(row - 1, row + 2):
                if members[above, beside] == _FREE:
                    seen += 1
                    angle = turn(orientation[row, column], orientation[above, beside])
                    heapq.heappush(waiting, (angle, seen, above, beside))
        while len(waiting) > 0 and members[waiting[0][2], waiting[0][3]] != _FREE:
            heapq.heappop(waiting)
        if len(waiting) == 0:
            return
        angle, _, row, column = heapq.heappop(waiting)
        total += angle
        if total >= max_turn:
            return
        members[row, column] = number


@compiled
def _dissolve(members: NDArray[np.int32], magnitude: Plane, count: int, min_mass: float) -> None:
    masses = np.zeros(count + 1)
    height, width = members.shape
    for row in range(height):
        for column in range(width):
            if members[row, column] > _FREE:
                masses[members[row, column]] += magnitude[row, column]
    for row in range(height):
        for column in range(width):
            if members[row, column] > _FREE and masses[members[row, column]] <= min_mass:
                members[row, column] = _FREE


@compiled
def _attach(members: NDArray[np.int32], orientation: Plane) -> None:
    """Let free pixels join a group beside them, column by column, until no more can."""
    height, width = members.shape
    changed = True
    while changed:
        changed = False
        for column in range(1, width - 1):
            for row in range(1, height - 1):
                if members[row, column] != _FREE:
                    continue
                least, joined = 1.0, _FREE
                for beside in range(column - 1, column + 2):
                    for above in range(row - 1, row + 2):
                        if members[above, beside] > _FREE:
                            angle = turn(orientation[row, column], orientation[above, beside])
                            if angle < least:
                                least, joined = angle, members[above, beside]
                if joined != _FREE:
                    members[row, column] = joined
                    changed = True


@compiled
def _summarise(
    members: NDArray[np.int32], magnitude: Plane, orientation: Plane, count: int
) -> tuple[NDArray[np.float64], NDArray[np.int32]]:
    """Return (G, 5) sums of 1, x, y, cos and sin of the doubled angle, by magnitude, and the last places."""
    sums = np.zeros((count, 5))
    places = np.zeros((count, 2), dtype=np.int32)
    height, width = members.shape
    for column in range(width):
        for row in range(height):
            group, mass = members[row, column], np.float64(magnitude[row, column])
            if group < 0:
                continue
            double = 2.0 * orientation[row, column]
            sums[group, 0] += mass
            sums[group, 1] += mass * column
            sums[group, 2] += mass * row
            sums[group, 3] += mass * np.cos(double)
            sums[group, 4] += mass * np.sin(double)
            places[group, 0], places[group, 1] = row, column
    return sums, places


def affinities(groups: EdgeGroups, *, gamma: float) -> Affinities:
    """Return how well neighbouring groups continue one another.

    Groups are neighbours where pixels of both are at most 2 rows and 2 columns apart. The affinity is
    |cos(a - t) cos(b - t)|^gamma for the directions a and b of the groups and t from the centre of one to
    that of the other (Zitnick and Dollar, "Edge Boxes", ECCV 2014, equation 1).

    Args:
        groups: G groups.
        gamma: how fast the affinity falls with the angle.

    Example:
        >>> members = np.array([[0, 0, 1, 1]], np.int32)
        >>> masses, places = np.array([2.0, 2.0]), np.array([[0, 1], [0, 3]], np.int32)
        >>> centres = np.array([[0.5, 0.0], [2.5, 0.0]])
        >>> across = np.array([np.pi / 2, np.pi / 3])
        >>> affinities(EdgeGroups(members, masses, centres, across, places), gamma=2.0).values.round(4)
        array([0.75, 0.75])
    """
    count = len(groups.masses)
    keys = np.unique(_touching(groups.members, count))
    first, second = keys // max(count, 1), keys % max(count, 1)
    x, y = (groups.centres[second] - groups.centres[first]).T
    # The directions are those across the contour, so the line that joins them is turned by a quarter, too.
    line = np.arctan2(y, x) + np.pi / 2
    straight = np.cos(groups.orientations[first] - line) * np.cos(groups.orientations[second] - line)
    values = np.abs(straight) ** gamma
    strong = values >= WEAKEST
    first, second, values = first[strong], second[strong], values[strong]
    owners, others = np.concatenate([first, second]), np.concatenate([second, first])
    order = np.argsort(owners, kind="stable")
    starts = np.concatenate([[0], np.cumsum(np.bincount(owners, minlength=count))]).astype(np.int64)
    return Affinities(starts, others[order].astype(np.int32), np.concatenate([values, values])[order])


@compiled
def _touching(members: NDArray[np.int32], count: int) -> NDArray[np.int64]:
    """Return i * count + j of groups i < j that are neighbours, many more than once."""
    height, width = members.shape
    keys = np.empty((members >= 0).sum() * _BESIDE, dtype=np.int64)
    num, last = 0, np.int64(-1)
    for row in range(height):
        for column in range(width):
            one = members[row, column]
            if one < 0:
                continue
            for below in range(row, min(row + _REACH_PX + 1, height)):
                # In its own row only what follows: what precedes has seen this pixel.
                left = column + 1 if below == row else max(column - _REACH_PX, 0)
                for beside in range(left, min(column + _REACH_PX + 1, width)):
                    other = members[below, beside]
                    if other < 0 or other == one:
                        continue
                    key = np.int64(min(one, other)) * count + max(one, other)
                    if key != last:
                        keys[num] = last = key
                        num += 1
    return keys[:num]
