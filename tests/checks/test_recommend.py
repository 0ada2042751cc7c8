from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray

from detkit.checks.recommend import (
    MOST_ANCHORS,
    ObjectSizes,
    choose_anchors,
    choose_resize,
    measure_objects,
)
from detkit.data.synthetic.dataset import SyntheticSet


def objects(small: int, large: int, short: int, long: int) -> ObjectSizes:
    """Return squares of sizes at equal steps in an image."""
    sides = np.geomspace(small, large, 40)
    return ObjectSizes(small, large, short, long, np.stack((sides, sides), axis=1), np.ones(40))


def test_small_objects_enlarge_the_image_up_to_half_again() -> None:
    tiny = objects(10, 50, 480, 640)
    assert choose_resize(tiny, stride=16)[0] == 720
    large = objects(200, 400, 480, 640)
    assert choose_resize(large, stride=16)[0] == 480


def test_large_photographs_shrink_to_the_usual_size() -> None:
    short, long = choose_resize(objects(400, 900, 2000, 3000), stride=16)
    assert (short, long) == (608, 912)


def test_long_side_follows_the_images() -> None:
    short, long = choose_resize(objects(100, 200, 400, 1200), stride=16)
    assert long == 3 * short


def best_ious(boxes: NDArray[np.float64], sizes: tuple[float, ...], ratios: tuple[float, ...]) -> list[float]:
    """Return the best IoU of each box with anchors around its centre."""
    anchors = [(size / ratio**0.5, size * ratio**0.5) for size in sizes for ratio in ratios]
    found = []
    for width, height in boxes.tolist():
        shared = [min(width, w) * min(height, h) for w, h in anchors]
        ious = [s / (width * height + w * h - s) for s, (w, h) in zip(shared, anchors, strict=True)]
        found.append(max(ious))
    return found


@pytest.mark.parametrize(("small", "large"), [(20, 25), (30, 900), (50, 50)])
def test_anchors_lie_within_the_objects_range_and_are_few(small: int, large: int) -> None:
    (sizes,), ratios = choose_anchors(objects(small, large, 480, 640), 1.0, num_maps=1, stride=4)
    assert len(sizes) * len(ratios) <= MOST_ANCHORS
    assert small - 1 <= min(sizes)
    assert max(sizes) <= large + 1


def test_the_largest_and_longest_objects_have_anchors_too() -> None:
    rng = np.random.default_rng(0)
    usual = np.exp(rng.normal(np.log(60), 0.2, (92, 2)))
    tail = np.array([[420.0, 400.0]] * 4 + [[260.0, 52.0]] * 4)  # beyond the 90th percentile of both
    seen = ObjectSizes(48, 75, 480, 640, np.concatenate((usual, tail)), np.ones(100))
    (sizes,), ratios = choose_anchors(seen, 1.0, num_maps=1, stride=16)
    assert min(best_ious(tail, sizes, ratios)) >= 0.5
    assert np.mean(np.array(best_ious(usual, sizes, ratios)) >= 0.5) > 0.95


def test_anchors_are_of_the_resized_image() -> None:
    (sizes,), ratios = choose_anchors(objects(40, 200, 480, 640), 1.0, num_maps=1, stride=16)
    (scaled,), same = choose_anchors(objects(40, 200, 480, 640), 2.0, num_maps=1, stride=32)
    assert same == ratios
    assert scaled == pytest.approx([2 * size for size in sizes], abs=1)


def test_a_pyramid_doubles_its_sizes() -> None:
    levels, _ = choose_anchors(objects(30, 300, 480, 640), 1.0, num_maps=5, stride=4)
    flat = [size for (size,) in levels]
    assert len(flat) == 5
    assert all(b == 2 * a for a, b in pairwise(flat))


def test_objects_of_one_shape_take_its_ratio() -> None:
    wide = np.array([[90.0, 30.0]] * 5)
    _, ratios = choose_anchors(ObjectSizes(52, 52, 480, 640, wide, np.ones(5)), 1.0, num_maps=1, stride=4)
    assert ratios == (0.33,)


def test_a_rare_small_class_counts_as_much_as_a_common_large_one() -> None:
    truth = SyntheticSet(40, 0).annotations()
    boxes = truth.boxes.copy()
    rare = truth.labels == 0
    boxes[rare, 2:] = boxes[rare, :2] + 9  # ten pixels in inclusive coordinates
    measured = measure_objects(replace(truth, boxes=boxes), truth.sizes)
    assert measured is not None
    assert measured.small_px == pytest.approx(10)


def test_nothing_to_measure_gives_none() -> None:
    truth = SyntheticSet(3, 0).annotations()
    flat = truth.boxes.copy()
    flat[:, 2] = flat[:, 0] - 1
    assert measure_objects(replace(truth, boxes=flat), truth.sizes) is None
