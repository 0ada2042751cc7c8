from __future__ import annotations

import itertools
import math

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import correlate, gaussian_filter

from detkit.proposals.selective_search.region_features import Regions, describe
from detkit.proposals.selective_search.region_texture import gradient_codes, scharr, scharr_codes
from detkit.proposals.selective_search.segmentation import Segmentation, pixel_graph

DRAW = np.random.default_rng(4)
PLANES = cv2.GaussianBlur(DRAW.integers(0, 256, (24, 31, 3)).astype(np.uint8), (0, 0), 1.0).transpose(2, 0, 1)
PLANES = np.ascontiguousarray(PLANES)
PARTS = pixel_graph(PLANES.astype(np.float32), 8, 20).segment(20, 20)


def measured(opencv: bool) -> Regions:
    codes = np.concatenate([scharr_codes(p) if opencv else gradient_codes(p) for p in PLANES])
    return describe(PARTS, PLANES, codes, opencv=opencv)


def test_there_are_several_regions() -> None:
    assert PARTS.num > 5


def test_boxes_hold_their_pixels_and_no_more() -> None:
    for label, (box, size) in enumerate(zip(measured(False).boxes, measured(False).sizes, strict=True)):
        rows, columns = np.nonzero(PARTS.labels == label)
        assert box.tolist() == [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        assert size == len(rows)


@pytest.mark.parametrize("opencv", [False, True])
def test_colour_histograms(opencv: bool) -> None:
    for label, found in enumerate(measured(opencv).colour):
        pixels = PLANES[:, PARTS.labels == label].astype(float)
        bins = np.floor(pixels * 25 / 256) if opencv else np.floor(pixels / 255 * 24 + 0.5)
        expected = np.concatenate([np.bincount(row.astype(int), minlength=25) for row in bins])
        assert np.allclose(found, expected / expected.sum(), atol=1e-6)


def directions(plane: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Eight half-wave rectified derivatives of a Gaussian, by scipy."""
    grey = plane.astype(float) / 255
    across = gaussian_filter(grey, 0.8, order=(0, 1), mode="nearest", radius=4)
    down = gaussian_filter(grey, 0.8, order=(1, 0), mode="nearest", radius=4)
    axes = [across, (across + down) / 2**0.5, down, (down - across) / 2**0.5]
    return np.stack([np.maximum(sign * axis, 0) for axis in axes for sign in (1, -1)])


def test_texture_histograms_have_eight_directions_of_each_plane() -> None:
    slopes = np.concatenate([directions(plane) for plane in PLANES])
    bins = np.minimum(np.floor(slopes * 9 / 0.43 + 0.5), 9).astype(int)
    for label, found in enumerate(measured(False).texture):
        expected = np.concatenate(
            [np.bincount(row, minlength=10) for row in bins[:, PARTS.labels == label]]
        ) / (len(bins) * (PARTS.labels == label).sum())
        assert found.shape == (240,)
        assert np.abs(found - expected).sum() < 2e-3  # a value at the edge of a bin


def test_opencv_texture_along_rows_and_columns() -> None:
    for axis, order in ((0, (1, 0)), (2, (0, 1))):
        slope = cv2.Scharr(PLANES[0], cv2.CV_32F, *order)
        for sign, half in ((0, np.maximum(slope, 0)), (1, np.minimum(slope, 0))):
            byte = np.rint((half - half.min()) * 255 / (half.max() - half.min()))
            bins = (byte / 25.6).astype(int)
            codes = scharr_codes(PLANES[0])[axis].astype(int)
            mine = np.where(codes // 10 == sign, codes % 10, 9 if sign else 0)
            assert (mine == bins).mean() > 0.999


def test_opencv_texture_along_diagonals_has_the_scale_of_a_turned_kernel() -> None:
    rows, columns = np.mgrid[:20, :20]
    ramp = (2 * (rows + columns)).astype(np.uint8)
    values = np.empty((4, 20, 20), np.float32)
    scharr(ramp, values)
    assert np.allclose(values[:, 10, 10], [32 * 2, 32 * 2 * 2**0.5, 32 * 2, 0], atol=1e-2)


def turned_scharr(turn: float) -> NDArray[np.float64]:
    """Scharr's points, turned from the x axis towards the y axis, and put between those of a 5 x 5 kernel."""
    kernel = np.zeros((7, 7))
    for x, y in itertools.product((-1, 1), (-1, 0, 1)):
        column = x * math.cos(turn) - y * math.sin(turn) + 3
        row = x * math.sin(turn) + y * math.cos(turn) + 3
        left, top = math.floor(column + 1e-9), math.floor(row + 1e-9)
        for b, a in itertools.product((top, top + 1), (left, left + 1)):
            kernel[b, a] += x * (3 if y else 10) * (1 - abs(column - a)) * (1 - abs(row - b))
    return kernel


@pytest.mark.parametrize("shape", [(11, 13), (2, 9), (3, 3)])
def test_opencv_derivatives_against_turned_kernels_up_to_the_mirrored_border(shape: tuple[int, int]) -> None:
    plane = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    values = np.empty((4, *shape), np.float32)
    scharr(plane, values)
    for axis in range(4):
        expected = correlate(plane.astype(float), turned_scharr(axis * math.pi / 4), mode="mirror")
        np.testing.assert_allclose(values[axis], expected, atol=0.2)  # its weights have four decimals


def touching(labels: NDArray[np.int32], opencv: bool) -> set[tuple[int, int]]:
    pairs = set()
    height, width = labels.shape
    for y in range(height):
        for x in range(width):
            if opencv:
                steps = [(0, 1), (1, 0), (1, 1)] if y and x else []
            else:
                steps = [(0, 1)] * (x > 0) + [(1, 0)] * (y > 0)
            for dy, dx in steps:
                a, b = int(labels[y, x]), int(labels[y - dy, x - dx])
                if a != b:
                    pairs.add((min(a, b), max(a, b)))
    return pairs


@pytest.mark.parametrize("opencv", [False, True])
@pytest.mark.parametrize("single", [False, True])
def test_neighbours(opencv: bool, single: bool) -> None:
    parts = Segmentation(np.arange(24 * 31, dtype=np.int32).reshape(24, 31), 24 * 31) if single else PARTS
    codes = np.zeros((4, 24, 31), np.uint8)
    found = describe(parts, PLANES, codes, opencv=opencv).pairs
    assert [tuple(pair) for pair in found.tolist()] == sorted(touching(parts.labels, opencv))


@pytest.mark.parametrize("opencv", [False, True])
def test_a_flat_image_has_texture_only_in_the_bins_of_no_gradient(opencv: bool) -> None:
    plane = np.full((5, 6), 99, np.uint8)
    codes = scharr_codes(plane) if opencv else gradient_codes(plane)
    flat = describe(Segmentation(np.zeros((5, 6), np.int32), 1), plane[None], codes, opencv=opencv)
    assert np.isclose(flat.texture.sum(), 1)
    assert set(np.flatnonzero(flat.texture[0]) % 10) == ({0, 9} if opencv else {0})
    assert len(flat.pairs) == 0


def test_derivatives_reach_as_far_as_the_gaussian_has_weight() -> None:
    noise = np.random.default_rng(5).integers(0, 2, (120, 160)).astype(np.uint8) * 255
    steps = directions(noise) * 9 / 0.43
    codes = gradient_codes(noise)
    sizes = np.minimum(np.floor(steps + 0.5), 9)
    either_way = np.stack([sizes[2 * axis] + sizes[2 * axis + 1] for axis in range(4)])
    near_a_limit = np.abs(steps % 1 - 0.5).reshape(4, 2, *noise.shape).min(axis=1) < 1e-4
    assert near_a_limit.mean() < 0.001
    assert (codes % 10 == either_way)[~near_a_limit].all()
