from __future__ import annotations

import numpy as np
import pytest

from detkit.proposals.config import PyramidWindowsConfig, RelativeWindowsConfig
from detkit.proposals.sliding_window import (
    PyramidWindows,
    RelativeWindows,
    SlidingWindow,
    WindowLayout,
    spread_order,
)

_RELATIVE = RelativeWindowsConfig(type="relative")
_PYRAMID = PyramidWindowsConfig(type="pyramid")
RELATIVE = RelativeWindows(_RELATIVE.scales, _RELATIVE.ratios, _RELATIVE.stride)
PYRAMID = PyramidWindows(_PYRAMID.sizes_px, _PYRAMID.stride_px, _PYRAMID.scale_step)


def image(height: int, width: int) -> np.ndarray:
    return np.zeros((height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("layout", [RELATIVE, PYRAMID])
@pytest.mark.parametrize("size", [(1, 1), (1, 50), (50, 1), (3, 2), (99, 64), (375, 500), (900, 200)])
def test_boxes_lie_inside_have_an_area_and_come_once(layout: WindowLayout, size: tuple[int, int]) -> None:
    found = SlidingWindow(layout, None)(image(*size))
    boxes = found.boxes
    assert boxes.dtype == np.float32
    assert boxes.shape == (len(found), 4)
    assert (boxes >= 0).all()
    assert (boxes[:, 2:] <= (size[1], size[0])).all()
    assert (boxes[:, 2:] > boxes[:, :2]).all()
    assert len(np.unique(boxes, axis=0)) == len(boxes)


def test_the_default_is_a_thousand_or_three_for_a_photo() -> None:
    assert 1000 <= len(SlidingWindow(RELATIVE, None)(image(375, 500))) <= 3000


def test_relative_windows_have_the_asked_area_ratio_and_stride_and_touch_the_borders() -> None:
    (grid,) = RelativeWindows((0.25,), (2.0,), 0.5).grids(300, 400)
    width, height = grid.size_px
    assert width * height == pytest.approx(0.25**2 * 300 * 400)
    assert height / width == pytest.approx(2)
    for places, side, room in ((grid.lefts_px, width, 400), (grid.tops_px, height, 300)):
        assert places[0] == 0
        assert places[-1] == pytest.approx(room - side)
        assert np.allclose(np.diff(places), np.diff(places)[0])
        # The largest even step that is not above the stride: one place fewer would be.
        assert np.diff(places)[0] <= 0.5 * side < (room - side) / (len(places) - 2)


def test_windows_larger_than_the_image_are_cut_to_it() -> None:
    (grid,) = RelativeWindows((1.0,), (0.25,), 0.5).grids(100, 100)
    assert grid.size_px == (100, 50)
    assert grid.lefts_px.tolist() == [0]


def test_pyramid_windows_are_a_templates_places_on_each_copy() -> None:
    height, width, step = 100, 150, 1.5
    expected = set()
    for level in range(9):
        rows = range(0, int(height / step**level) - 30 + 1, 8)
        columns = range(0, int(width / step**level) - 20 + 1, 8)
        for top in rows:
            for left in columns:
                corners = np.array([left, top, left + 20, top + 30]) * step**level
                expected.add(tuple(np.round(corners, 2).tolist()))
    found = SlidingWindow(PyramidWindows(((20, 30),), 8, step), None)(image(height, width)).boxes
    assert {tuple(np.round(box.astype(float), 2).tolist()) for box in found} == expected


def test_a_template_that_does_not_fit_gives_nothing() -> None:
    assert len(SlidingWindow(PYRAMID, None)(image(30, 500))) == 0


@pytest.mark.parametrize("layout", [RELATIVE, PYRAMID])
def test_large_windows_come_first(layout: WindowLayout) -> None:
    boxes = SlidingWindow(layout, None)(image(375, 500)).boxes.astype(np.float64)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    assert (np.diff(areas) < 1e-2 * areas[1:]).all()


def test_the_first_boxes_of_a_size_are_spread_over_the_image() -> None:
    (grid,) = RelativeWindows((0.1,), (1.0,), 0.5).grids(400, 400)
    boxes = grid.boxes()
    assert len(boxes) == 19 * 19
    assert len(np.unique(boxes, axis=0)) == len(boxes)
    centres = (boxes[:30, :2] + boxes[:30, 2:]) / 2
    quarters = (centres > 200).astype(int) @ [1, 2]
    assert np.bincount(quarters, minlength=4).min() >= 3


@pytest.mark.parametrize("count", [1, 2, 3, 8, 13])
def test_spread_order_is_an_order(count: int) -> None:
    assert sorted(spread_order(count).tolist()) == list(range(count))


def test_the_limit_keeps_the_first() -> None:
    everything = SlidingWindow(RELATIVE, None)(image(60, 80))
    few = SlidingWindow(RELATIVE, 7)(image(60, 80))
    assert few.boxes.tolist() == everything.boxes[:7].tolist()


@pytest.mark.parametrize(
    ("stride", "lefts"), [(1.0, [0, 50]), (0.5, [0, 25, 50]), (0.4, [0, 50 / 3, 100 / 3, 50]), (4.0, [0, 50])]
)
def test_neighbours_are_no_farther_apart_than_the_stride(stride: float, lefts: list[float]) -> None:
    (grid,) = RelativeWindows((0.5,), (1.0,), stride).grids(100, 100)
    assert grid.size_px == (50, 50)
    assert grid.lefts_px.tolist() == pytest.approx(lefts)
    assert grid.tops_px.tolist() == pytest.approx(lefts)


def test_windows_of_one_size_begin_with_a_coarse_covering() -> None:
    (grid,) = PyramidWindows(((10, 20),), 10, 9.0).grids(40, 30)
    assert grid.size_px == (10, 20)
    assert grid.boxes().tolist() == [
        [0, 0, 10, 20], [20, 0, 30, 20], [0, 20, 10, 40], [20, 20, 30, 40],
        [10, 0, 20, 20], [10, 20, 20, 40], [0, 10, 10, 30], [20, 10, 30, 30], [10, 10, 20, 30],
    ]  # fmt: skip
