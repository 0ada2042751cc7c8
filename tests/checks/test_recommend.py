from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest

from detkit.checks.recommend import (
    ObjectSizes,
    choose_anchor_sizes,
    choose_ratios,
    choose_resize,
    measure_objects,
)
from detkit.data.synthetic.dataset import SyntheticSet


def test_small_objects_enlarge_the_image_up_to_half_again() -> None:
    tiny = ObjectSizes(10, 50, 0.8, 1.2, 480, 640)
    assert choose_resize(tiny, stride=16)[0] == 720
    large = ObjectSizes(200, 400, 0.8, 1.2, 480, 640)
    assert choose_resize(large, stride=16)[0] == 480


def test_large_photographs_shrink_to_the_usual_size() -> None:
    short, long = choose_resize(ObjectSizes(400, 900, 0.5, 2.0, 2000, 3000), stride=16)
    assert (short, long) == (608, 912)


def test_long_side_follows_the_images() -> None:
    short, long = choose_resize(ObjectSizes(100, 200, 0.5, 2.0, 400, 1200), stride=16)
    assert long == 3 * short


@pytest.mark.parametrize(("small", "large"), [(20, 25), (10, 900), (50, 50)])
def test_anchor_sizes_lie_within_the_objects_range(small: float, large: float) -> None:
    (sizes,) = choose_anchor_sizes(ObjectSizes(small, large, 0.8, 1.2, 480, 640), 1.0, num_maps=1)
    assert 3 <= len(sizes) <= 6
    assert small <= min(sizes)
    assert max(sizes) <= large


def test_a_pyramid_doubles_its_sizes() -> None:
    levels = choose_anchor_sizes(ObjectSizes(30, 300, 0.8, 1.2, 480, 640), 1.0, num_maps=5)
    flat = [size for (size,) in levels]
    assert len(flat) == 5
    assert all(b == 2 * a for a, b in pairwise(flat))


def test_ratios_are_symmetric_for_symmetric_objects() -> None:
    low, middle, high = choose_ratios(ObjectSizes(40, 200, 0.5, 2.0, 480, 640))
    assert middle == 1.0
    assert low * high == pytest.approx(1.0, abs=0.02)


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
