"""Merging beside the paper's algorithm written out slowly."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from detkit.detectors.overfeat.merging import match_scores, merge_boxes

Box = list[float]


def match_score(a: Box, b: Box) -> float:
    """Distance of the centres and missing intersection, in units of the mean area."""
    mean = ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1])) / 2
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    away = math.dist(((a[0] + a[2]) / 2, (a[1] + a[3]) / 2), ((b[0] + b[2]) / 2, (b[1] + b[3]) / 2))
    return away / math.sqrt(mean) + 1 - width * height / mean


def slowly(boxes: list[Box], scores: list[float], below: float) -> list[tuple[Box, float]]:
    """Merge the best pair, found anew each time; each entry holds all boxes that it stands for."""
    groups = [([box], score) for box, score in zip(boxes, scores, strict=True)]

    def mean(group: list[Box]) -> Box:
        return [sum(box[i] for box in group) / len(group) for i in range(4)]

    while len(groups) > 1:
        pairs = [(i, j) for j in range(len(groups)) for i in range(j)]
        score, i, j = min((match_score(mean(groups[i][0]), mean(groups[j][0])), i, j) for i, j in pairs)
        if score > below:
            break
        joined = (groups[i][0] + groups[j][0], groups[i][1] + groups[j][1])
        groups = [group for number, group in enumerate(groups) if number not in (i, j)] + [joined]
    return [(mean(group), score) for group, score in groups]


def some(seed: int, num: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    rng = np.random.default_rng(seed)
    corner, side = rng.uniform(0, 60, (num, 2)), rng.uniform(15, 30, (num, 2))
    return np.concatenate([corner, corner + side], axis=1), rng.uniform(0.05, 1, num)


def in_order(boxes: NDArray[np.float64], scores: NDArray[np.float64]) -> NDArray[np.float64]:
    rows = np.concatenate([boxes, scores[:, None]], axis=1)
    return rows[np.lexsort(rows.T)]


@pytest.mark.parametrize("below", [0.1, 0.4, 0.8, 1.5])
@pytest.mark.parametrize("num", [1, 2, 3, 17, 60])
def test_it_is_the_slow_algorithm(num: int, below: float) -> None:
    boxes, scores = some(num, num)
    expected = slowly(boxes.tolist(), scores.tolist(), below)
    found = in_order(*merge_boxes(boxes, scores, below))
    slow = in_order(np.array([box for box, _ in expected]), np.array([score for _, score in expected]))
    np.testing.assert_allclose(found, slow, rtol=1e-9)
    assert num < 17 or below < 0.8 or len(found) < num


def test_match_scores_by_hand() -> None:
    boxes = np.array([[0.0, 0, 10, 10], [0, 0, 10, 20]])
    others = np.array([[0.0, 0, 10, 10], [5, 0, 15, 10], [0, 30, 10, 40]])
    # Half of it shared and half a side away; three sides away. Of a mean area of 150: 100, 50 and 0.
    expected = [[0, 1, 4], [5 / 150**0.5 + 1 / 3, 50**0.5 / 150**0.5 + 2 / 3, 25 / 150**0.5 + 1]]
    np.testing.assert_allclose(match_scores(boxes, others), expected)


def test_boxes_a_pixel_apart_become_their_mean_and_their_scores_add_up() -> None:
    shifts = np.arange(5.0)[:, None]
    boxes, sums = merge_boxes(np.array([[0.0, 0, 40, 40]]) + shifts, np.full(5, 0.25), 0.5)
    np.testing.assert_allclose(boxes, [[2, 2, 42, 42]])
    assert sums.tolist() == [1.25]


def test_a_match_at_the_limit_is_merged() -> None:
    boxes = np.array([[0.0, 0, 4, 4], [1, 0, 5, 4]])  # a quarter of a side away: 1/4, and 1/4 is not shared
    assert [len(merge_boxes(boxes, np.ones(2), below)[0]) for below in (0.5, 0.4999)] == [1, 2]


def test_objects_two_sides_apart_stay_two() -> None:
    boxes = np.array([[0.0, 0, 10, 10], [1, 0, 11, 10], [20, 0, 30, 10], [21, 0, 31, 10]])
    merged, sums = merge_boxes(boxes, np.ones(4), 0.5)
    assert sorted(merged.tolist()) == [[0.5, 0, 10.5, 10], [20.5, 0, 30.5, 10]]
    assert sums.tolist() == [2, 2]


def test_the_order_of_the_input_does_not_matter_even_where_matches_are_equal() -> None:
    grid = np.array([[x, y, x + 20, y + 20] for x in range(0, 40, 4) for y in range(0, 12, 4)], float)
    scores = np.linspace(0.1, 0.9, len(grid)).round(1)
    expected = in_order(*merge_boxes(grid, scores, 0.6))
    for seed in range(5):
        order = np.random.default_rng(seed).permutation(len(grid))
        assert np.array_equal(in_order(*merge_boxes(grid[order], scores[order], 0.6)), expected)
    assert 1 < len(expected) < len(grid)


def test_nothing_stays_nothing_and_what_came_is_left_as_it_was() -> None:
    boxes, scores = merge_boxes(np.zeros((0, 4)), np.zeros(0), 0.5)
    assert (boxes.shape, scores.shape) == ((0, 4), (0,))
    given, own = some(0, 9)
    before = given.copy(), own.copy()
    merge_boxes(given, own, 9.0)
    assert np.array_equal(given, before[0])
    assert np.array_equal(own, before[1])
