from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize

from detkit.models.hog.grouping import group_by_mean_shift, group_rectangles


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


def _peak(points, weights, start):
    """Climb the density of Gaussians by its gradient, each of its own deviations, as slowly as it takes."""
    deviations = np.stack(
        [8 * np.exp(points[:, 2]), 16 * np.exp(points[:, 2]), np.full(len(points), np.log(1.3))], 1
    )

    def density(place):
        squared = (((place - points) / deviations) ** 2).sum(1)
        return (weights * np.exp(-squared / 2) / np.sqrt(deviations.sum(1))).sum()

    found = minimize(
        lambda place: -density(place), start, method="Nelder-Mead", options={"xatol": 1e-6, "fatol": 1e-12}
    )
    return found.x, -found.fun


def test_mean_shift_finds_the_peaks_of_the_density() -> None:
    chance = np.random.default_rng(0)
    scales = chance.choice([1.0, 1.05, 1.1025], 12)
    around = np.repeat([[100, 100], [300, 120]], 6, axis=0)
    corners = around + chance.integers(-6, 7, (12, 2))
    sides = np.rint(scales[:, None] * [64, 128]).astype(int)
    boxes, weights = np.concatenate([corners, corners + sides], axis=1), chance.uniform(0.2, 1.5, 12)
    found, density = group_by_mean_shift(boxes, weights, scales, (128, 64), 0.0)
    points = np.concatenate([np.rint((boxes[:, :2] + boxes[:, 2:]) / 2), np.log(scales)[:, None]], axis=1)
    assert len(found) == 2
    for one, group in enumerate((slice(0, 6), slice(6, 12))):
        place, highest = _peak(points, weights, points[group].mean(0))
        assert density[one] == pytest.approx(highest, rel=1e-4)
        width, height = 64 * np.exp(place[2]), 128 * np.exp(place[2])
        middle = (found[one, :2] + found[one, 2:]) / 2
        np.testing.assert_allclose(middle, place[:2], atol=1.1)
        np.testing.assert_allclose(found[one, 2:] - found[one, :2], [width, height], atol=1.1)


def test_mean_shift_leaves_out_weak_peaks_and_windows_without_weight() -> None:
    boxes, ones = (
        np.array([[0, 0, 64, 128], [4, 0, 68, 128], [300, 0, 364, 128], [600, 0, 664, 128]]),
        np.ones(4),
    )
    weights = np.array([1.0, 1.0, 0.5, -0.5])
    every, density = group_by_mean_shift(boxes, weights, ones, (128, 64), 0.0)
    # It stops a little before the middle, and what is left is cut off.
    assert every.tolist() == [[1, 0, 65, 128], [300, 0, 364, 128]]
    # Alone its density is its weight over the root of the sum of the deviations, 8, 16 and log 1.3.
    assert density[1] == pytest.approx(0.5 / np.sqrt(24 + np.log(1.3)))
    strong, _ = group_by_mean_shift(boxes, weights, ones, (128, 64), float(density[1]))
    assert strong.tolist() == every[:1].tolist()
    none, nothing = group_by_mean_shift(boxes[:0], weights[:0], ones[:0], (128, 64), 0.0)
    assert none.shape == (0, 4)
    assert len(nothing) == 0


def test_the_deviations_of_mean_shift_are_shares_of_the_window() -> None:
    boxes, ones = np.array([[0, 0, 32, 32], [8, 0, 40, 32]]), np.ones(2)
    assert len(group_by_mean_shift(boxes, ones, ones, (32, 32), 0.0)[0]) == 1
    boxes[1, [0, 2]] += 8  # four deviations apart
    assert len(group_by_mean_shift(boxes, ones, ones, (32, 32), 0.0)[0]) == 2
