"""Groups of edge pixels that run nearly straight on, the pieces of contours, and their affinity.

Computed in single precision and in the order of the authors' program: which way a box's side is moved is
decided by scores that may differ by rounding alone.
"""

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

WEAKEST = np.float32(0.05)
"""A group is not followed to one to which the product of affinities is less than this."""


@dataclass(frozen=True)
class EdgeGroups:
    """G groups of edge pixels.

    Attributes:
        members: (H, W) int32, the group of each pixel, from 0; -1 for none.
        masses: (G,) float32 sum of the magnitudes.
        centres: (G, 2) float32 x y, mean weighted by magnitude.
        orientations: (G,) float32 mean direction across, weighted by magnitude, in (-pi/2, pi/2].
        places: (G, 2) int32 row and column of the last pixel, column by column: the group's place.
    """

    members: NDArray[np.int32]
    masses: NDArray[np.float32]
    centres: NDArray[np.float32]
    orientations: NDArray[np.float32]
    places: NDArray[np.int32]


class Affinities(NamedTuple):
    """The neighbours of each of G groups: those of group i are at starts[i] to starts[i + 1].

    Attributes:
        starts: (G + 1,) int64.
        others: (A,) int32, the neighbouring groups, in the order in which they are met, column by column.
        values: (A,) float32 in [WEAKEST, 1].
    """

    starts: NDArray[np.int64]
    others: NDArray[np.int32]
    values: NDArray[np.float32]


def group_edges(edges: EdgeMap, *, min_edge: float, max_turn: float, min_mass: float) -> EdgeGroups:
    """Group edge pixels (Zitnick and Dollar, "Edge Boxes", ECCV 2014, section 3.1).

    From a pixel, column by column, a group takes in again and again that neighbour of any of its pixels
    that turns least from the one that was the first to have it as a neighbour, until the turns add up to
    the limit; the pixel that reaches it stays out. Pixels of groups that are too weak join the neighbouring
    group whose pixel beside them turns least.
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
        array([7.], dtype=float32)
    """
    members, count = _grow(edges.magnitude, edges.orientation, np.float32(min_edge), np.float32(max_turn))
    _dissolve(members, edges.magnitude, count, np.float32(min_mass))
    _attach(members, edges.orientation)
    used, numbers = np.unique(members, return_inverse=True)
    members = (numbers.reshape(members.shape) - int((used <= _FREE).sum())).astype(np.int32)
    members = np.maximum(members, -1)
    sums, places = _summarise(members, edges.magnitude, edges.orientation, int((used > _FREE).sum()))
    masses = sums[:, 0].copy()
    x, y, cos, sin = (sums[:, 1:] / masses[:, None]).T
    return EdgeGroups(members, masses, np.stack([x, y], axis=1), _direction(sin, cos) / np.float32(2), places)


def _direction(y: NDArray[np.float32], x: NDArray[np.float32]) -> NDArray[np.float32]:
    # Rounded once from double precision: NumPy's functions of float32 differ between processors.
    return np.arctan2(y.astype(np.float64), x).astype(np.float32)


@compiled
def _turn(first: np.float32, second: np.float32) -> np.float32:
    """Return the angle between two directions in [0, pi), which have no sense, in units of pi: 0 to 0.5."""
    share = abs(first - second) / np.float32(np.pi)
    return min(share, np.float32(1) - share)


@compiled
def _grow(
    magnitude: Plane, orientation: Plane, min_edge: np.float32, max_turn: np.float32
) -> tuple[NDArray[np.int32], int]:
    """Return the (H, W) groups, numbered from 1, and their number."""
    height, width = magnitude.shape
    members = np.full((height, width), _OUT, dtype=np.int32)
    for row in range(1, height - 1):
        for column in range(1, width - 1):
            if magnitude[row, column] > min_edge:
                members[row, column] = _FREE
    seen_by = np.zeros((height, width), dtype=np.int32)
    count = 0
    for column in range(1, width - 1):
        for row in range(1, height - 1):
            if members[row, column] == _FREE:
                count += 1
                _grow_one(members, seen_by, orientation, row, column, count, max_turn)
    return members, count


@compiled
def _grow_one(
    members: NDArray[np.int32],
    seen_by: NDArray[np.int32],
    orientation: Plane,
    row: int,
    column: int,
    number: int,
    max_turn: np.float32,
) -> None:
    total, num_seen = np.float32(0), 0
    # The least turn is on top; of equal ones the neighbour that was seen first.
    waiting = [(total, 0, row, column)]
    heapq.heappop(waiting)
    while total < max_turn:
        members[row, column] = number
        for beside in range(column - 1, column + 2):
            for above in range(row - 1, row + 2):
                if members[above, beside] == _FREE and seen_by[above, beside] != number:
                    seen_by[above, beside] = number
                    num_seen += 1
                    angle = _turn(orientation[row, column], orientation[above, beside])
                    heapq.heappush(waiting, (angle, num_seen, above, beside))
        if len(waiting) == 0:
            return
        angle, _, row, column = heapq.heappop(waiting)
        total += angle


@compiled
def _dissolve(members: NDArray[np.int32], magnitude: Plane, count: int, min_mass: np.float32) -> None:
    masses = np.zeros(count + 1, dtype=np.float32)
    height, width = members.shape
    for column in range(width):
        for row in range(height):
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
                least, joined = np.float32(1), _FREE
                for beside in range(column - 1, column + 2):
                    for above in range(row - 1, row + 2):
                        if members[above, beside] > _FREE:
                            angle = _turn(orientation[row, column], orientation[above, beside])
                            if angle < least:
                                least, joined = angle, members[above, beside]
                if joined != _FREE:
                    members[row, column] = joined
                    changed = True


@compiled
def _summarise(
    members: NDArray[np.int32], magnitude: Plane, orientation: Plane, count: int
) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Return (G, 5) sums of 1, x, y, cos and sin of the doubled angle, by magnitude, and the last places."""
    sums = np.zeros((count, 5), dtype=np.float32)
    places = np.zeros((count, 2), dtype=np.int32)
    height, width = members.shape
    for column in range(width):
        for row in range(height):
            group, mass = members[row, column], magnitude[row, column]
            if group < 0:
                continue
            double = 2 * np.float64(orientation[row, column])
            sums[group, 0] += mass
            sums[group, 1] += mass * np.float32(column)
            sums[group, 2] += mass * np.float32(row)
            sums[group, 3] += mass * np.float32(np.cos(double))
            sums[group, 4] += mass * np.float32(np.sin(double))
            places[group, 0], places[group, 1] = row, column
    return sums, places


def affinities(groups: EdgeGroups, *, gamma: float) -> Affinities:
    """Return how well neighbouring groups continue one another.

    Groups are neighbours where pixels of both are at most 2 rows and 2 columns apart, that of the group with
    the lower number at least 2 from the image's border. The affinity is |cos(a - t) cos(b - t)|^gamma for the
    directions a and b of the groups and t from the centre of one to that of the other (Zitnick and Dollar,
    "Edge Boxes", ECCV 2014, equation 1).

    Args:
        groups: G groups.
        gamma: how fast the affinity falls with the angle.

    Example:
        >>> members = np.full((5, 6), -1, np.int32)
        >>> members[2, 1:5] = 0, 0, 1, 1
        >>> masses, places = np.array([2, 2], np.float32), np.array([[2, 2], [2, 4]], np.int32)
        >>> centres = np.array([[1.5, 2], [3.5, 2]], np.float32)
        >>> across = np.array([np.pi / 2, np.pi / 3], np.float32)
        >>> affinities(EdgeGroups(members, masses, centres, across, places), gamma=2.0).values.round(4)
        array([0.75, 0.75], dtype=float32)
    """
    first, second = _touching(groups.members).T
    x, y = (groups.centres[first] - groups.centres[second]).T
    # The directions are those across the contour, so the line that joins them is turned by a quarter, too.
    line = _direction(y, x) + np.float32(np.pi / 2)
    straight = _cos(groups.orientations[first] - line) * _cos(groups.orientations[second] - line)
    values = (np.abs(straight).astype(np.float64) ** float(np.float32(gamma))).astype(np.float32)
    strong = values >= WEAKEST
    first, second, values = first[strong], second[strong], values[strong]
    owners, others = np.stack([first, second], axis=1).ravel(), np.stack([second, first], axis=1).ravel()
    order = np.argsort(owners, kind="stable")
    starts = np.concatenate([[0], np.cumsum(np.bincount(owners, minlength=len(groups.masses)))])
    return Affinities(starts.astype(np.int64), others[order], values.repeat(2)[order])


def _cos(angles: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.cos(angles.astype(np.float64)).astype(np.float32)


@compiled
def _touching(members: NDArray[np.int32]) -> NDArray[np.int32]:
    """Return the (N, 2) pairs of groups that are neighbours, the lower first, as they are met."""
    height, width = members.shape
    met = {(np.int32(-1), np.int32(-1)): True}  # Numba reads the types off a first entry
    for column in range(_REACH_PX, width - _REACH_PX):
        for row in range(_REACH_PX, height - _REACH_PX):
            one = members[row, column]
            if one < 0:
                continue
            last = one
            for beside in range(column - _REACH_PX, column + _REACH_PX + 1):
                for above in range(row - _REACH_PX, row + _REACH_PX + 1):
                    other = members[above, beside]
                    if other > one and other != last:
                        met[one, other] = True
                        last = other
    pairs = np.empty((len(met), 2), dtype=np.int32)
    for number, pair in enumerate(met):  # dictionaries keep the order
        pairs[number] = pair
    return pairs[1:]
