from __future__ import annotations

import numpy as np

from detkit.models.hog.grouping import group_rectangles


def grouped(boxes: list[list[int]], margins: list[float], more_than: int) -> list[tuple[list[int], float]]:
    found, best = group_rectangles(np.array(boxes).reshape(-1, 4), np.array(margins), more_than)
    return list(zip(found.tolist(), best.tolist(), strict=True))


def test_windows_join_one_after_the_other_and_leave_their_mean() -> None:
    # Sides of 100: edges may differ by 0.2 * (100 + 100) / 2 = 20. The outer two differ by 40.
    boxes = [[0, 0, 100, 100], [20, 0, 120, 100], [41, 0, 141, 100], [400, 0, 500, 100], [421, 0, 521, 100]]
    assert grouped(boxes, [0.1, 0.5, 0.3, 0.2, 0.9], 1) == [([10, 0, 110, 100], 0.5)]
    boxes[2] = [40, 0, 140, 100]
    assert grouped(boxes, [0.1, 0.5, 0.3, 0.2, 0.9], 2) == [([20, 0, 120, 100], 0.5)]
    assert grouped(boxes, [0.1, 0.5, 0.3, 0.2, 0.9], 3) == []


def test_zero_groups_nothing_and_none_give_none() -> None:
    assert grouped([[0, 0, 9, 9], [0, 0, 9, 9]], [0.1, 0.2], 0) == [([0, 0, 9, 9], 0.1), ([0, 0, 9, 9], 0.2)]
    assert grouped([], [], 2) == []


def test_means_are_of_corner_and_size_and_rounded() -> None:
    boxes = [[0, 0, 10, 10], [1, 0, 12, 10], [1, 1, 12, 11]]
    # x 2/3 and width 32/3 round to 1 and 11; the mean of the right edges, 34/3, would have been 11.
    assert grouped(boxes, [0.0, 0.0, 0.0], 1) == [([1, 0, 12, 10], 0.0)]


def test_a_weaker_group_inside_another_is_dropped() -> None:
    large, small = [0, 0, 100, 100], [60, 60, 100, 100]
    inside = grouped([large] * 4 + [small] * 3, [0.1] * 4 + [0.9] * 3, 1)
    assert inside == [(large, 0.1)]
    # As many windows, or no more than three around it: both stay.
    assert len(grouped([large] * 4 + [small] * 4, [0.1] * 8, 1)) == 2
    assert len(grouped([large] * 3 + [small] * 3, [0.1] * 6, 1)) == 2
    # Fewer than three inside any other are dropped.
    assert grouped([large] * 2 + [small] * 2, [0.1] * 4, 1) == [(large, 0.1)]
    # A fifth of its side beyond the other's edge is inside still; more is not.
    assert len(grouped([large] * 4 + [[81, 60, 120, 100]] * 3, [0.1] * 7, 1)) == 1
    assert len(grouped([large] * 4 + [[81, 60, 121, 100]] * 3, [0.1] * 7, 1)) == 2
