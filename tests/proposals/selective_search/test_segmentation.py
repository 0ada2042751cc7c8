from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from skimage.segmentation import felzenszwalb

from detkit.proposals.selective_search.segmentation import Segmentation, pixel_graph, smooth
from tests.reference import segmentation as reference


def components(found: Segmentation) -> list[set[int]]:
    flat = found.labels.reshape(-1)
    return [set(np.flatnonzero(flat == label).tolist()) for label in range(found.num)]


def noise(seed: int, shape: tuple[int, int, int]) -> NDArray[np.float32]:
    """Patches that differ, with noise on them: all weights differ."""
    draw = np.random.default_rng(seed)
    patches = draw.uniform(0, 60, (shape[0], -(-shape[1] // 4), -(-shape[2] // 4)))
    planes = np.kron(patches, np.ones((1, 4, 4)))[:, : shape[1], : shape[2]]
    return (planes + draw.uniform(0, 20, shape)).astype(np.float32)


@pytest.mark.parametrize("neighbours", [4, 8])
@pytest.mark.parametrize(("k", "min_size"), [(20, 1), (60, 1), (60, 9), (300, 20), (1, 1)])
def test_components_are_those_of_the_paper(neighbours: int, k: float, min_size: int) -> None:
    planes = noise(k + min_size, (3, 13, 17))
    found = pixel_graph(planes, neighbours, k).segment(k, min_size)
    assert components(found) == reference.segment(planes, k, min_size, neighbours)


@pytest.mark.parametrize("seed", range(4))
def test_ties_are_broken_by_direction_and_pixel(seed: int) -> None:
    planes = np.random.default_rng(seed).integers(0, 4, (1, 12, 12)).astype(np.float32) * 8
    found = pixel_graph(planes, 8, 20).segment(20, 5)
    assert components(found) == reference.segment(planes, 20, 5, 8)


def test_one_graph_serves_many_scales() -> None:
    graph = pixel_graph(noise(0, (3, 20, 20)), 8, 10)
    first = graph.segment(50, 10)
    graph.segment(500, 10)
    assert (graph.segment(50, 10).labels == first.labels).all()
    assert graph.segment(500, 10).num < first.num


@pytest.mark.parametrize("min_size", [1, 12])
def test_partition_is_that_of_scikit_image(min_size: int) -> None:
    planes = noise(3, (3, 30, 40))
    theirs = felzenszwalb(
        np.moveaxis(planes, 0, -1) / 255, scale=80, sigma=0, min_size=min_size, channel_axis=-1
    )
    ours = pixel_graph(planes, 8, 80).segment(80, min_size)
    pairs = set(zip(ours.labels.ravel().tolist(), theirs.ravel().tolist(), strict=True))
    assert len(pairs) == ours.num == len(np.unique(theirs)) > 5


def test_no_component_stays_below_the_least_size() -> None:
    found = pixel_graph(noise(1, (3, 40, 40)), 8, 30).segment(30, 25)
    assert np.bincount(found.labels.ravel()).min() >= 25


def test_planes_that_count_three_times_are_three_equal_planes() -> None:
    plane = noise(2, (1, 15, 15))
    thrice = pixel_graph(np.repeat(plane, 3, axis=0), 8, 9)
    assert np.allclose(pixel_graph(plane, 8, 9, copies=3).weights, thrice.weights, rtol=1e-5)


def test_pixels_are_joined_beforehand_only_as_all_scales_would() -> None:
    planes = noise(5, (3, 19, 17))
    graph = pixel_graph(planes, 8, 15)
    assert len(graph.sizes) < 19 * 17 / 3
    assert graph.sizes.sum() == 19 * 17
    assert (np.diff(graph.weights) >= 0).all()
    for k in (15, 40, 150):
        assert components(graph.segment(k, 7)) == reference.segment(planes, k, 7, 8)


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (2, 2)])
def test_thin_images(shape: tuple[int, int]) -> None:
    found = pixel_graph(smooth(np.full((3, *shape), 7, np.uint8), 0.8, "nearest"), 8, 10).segment(10, 1)
    assert found.num == 1
    assert found.labels.shape == shape


def test_labels_are_numbered_as_pixels_meet_them() -> None:
    plane = np.repeat([[90, 0, 200, 90]], 3, axis=0).astype(np.float32)
    assert pixel_graph(plane[None], 8, 1).segment(1, 1).labels[1].tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("shape", [(2, 21, 30), (1, 1, 1), (1, 3, 2), (1, 1, 8)])
def test_blur_repeats_the_border_as_felzenszwalb_does(shape: tuple[int, int, int]) -> None:
    planes = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    expected = [gaussian_filter(plane.astype(float), 0.8, mode="nearest", radius=4) for plane in planes]
    assert np.allclose(smooth(planes, 0.8, "nearest"), expected, atol=1e-3)


@pytest.mark.parametrize("shape", [(2, 21, 30), (1, 1, 1), (1, 4, 2), (1, 1, 8)])
def test_blur_mirrors_the_border_as_opencv_does(shape: tuple[int, int, int]) -> None:
    planes = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    expected = [cv2.GaussianBlur(plane.astype(np.float32), (0, 0), 0.8) for plane in planes]
    assert np.allclose(smooth(planes, 0.8, "mirror"), expected, atol=1e-3)
