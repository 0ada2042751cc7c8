"""Affinity of two groups of edge pixels: how likely they belong to the same contour."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from detkit.proposals.edge_boxes.edge_groups import EdgeGroups
from detkit.runtime.compiled import compiled

_REACH_PX = 2
_BESIDE = 2 * _REACH_PX * (_REACH_PX + 1)  # half of the pixels within reach: each pair is seen once

WEAKEST = 0.05
"""A group is not followed to one to which the product of affinities is less than this."""


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
