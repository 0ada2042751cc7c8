"""What a DPM's training begins with, against slow readings of the authors' rules."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest

from detkit.detectors.dpm.first_filters import (
    DEFORMATION,
    faces_left,
    mirrored,
    parts_of_root,
    root_size,
    shape_groups,
    shapes_of,
    warped,
)
from detkit.models.hog.dpm_features import dpm_features
from tests.detectors.dpm.small_models import picture
from tests.reference.star_models import mirrored as slowly_mirrored


def boxes_of(*sizes: tuple[float, float]) -> np.ndarray:
    """Return boxes of some widths and heights."""
    return np.array([[5.0, 7, 5 + width, 7 + height] for width, height in sizes])


def test_groups_are_equally_large_and_of_neighbouring_shapes() -> None:
    boxes = boxes_of(*[(10, 10 + side) for side in (7, 1, 6, 2, 5, 3, 4)])
    groups = shape_groups(boxes, 3)
    found = [[i for i, shape in enumerate(shapes_of(boxes)) if low <= shape < high] for low, high in groups]
    # ceil(7 / 3) and ceil(14 / 3) begin the second and the third, in order of height over width.
    assert found == [[1, 3, 5], [4, 6], [0, 2]]
    assert groups[-1][1] == math.inf


def test_boxes_of_one_shape_are_one_group() -> None:
    assert shape_groups(boxes_of(*[(10, 20)] * 5), 3) == [(2.0, math.inf)]
    assert len(shape_groups(boxes_of((10, 20)), 3)) == 1
    assert shape_groups(boxes_of((10, 20), (10, 10)), 3) == [(1.0, 2.0), (2.0, math.inf)]


@pytest.mark.parametrize(
    ("sizes", "limits", "expected"),
    [
        ([(40, 80)] * 5, (3000, 5000), (10, 5)),  # the objects' own area, 3200
        ([(400, 800)] * 5, (3000, 5000), (13, 6)),  # 50 x 100
        ([(10, 20)] * 5, (3000, 5000), (10, 5)),  # 38.7 x 77.5
        ([(60, 60), (64, 64), (62, 62), (64, 64), (200, 20)], (3000, 5000), (8, 8)),  # the commonest shape
        ([(10, 10)], (50, 60), (1, 1)),
    ],
)
def test_a_root_has_the_commonest_shape_and_the_area_of_small_objects(
    sizes: list[tuple[int, int]], limits: tuple[int, int], expected: tuple[int, int]
) -> None:
    assert root_size(boxes_of(*sizes), 8, limits) == expected


def test_the_area_is_that_of_the_fifth_part_that_is_smallest() -> None:
    sizes = [(side, side) for side in (80, 64, 72, 56, 88, 96, 104, 112, 120, 128)]
    assert root_size(boxes_of(*sizes), 8, (1, 1e6)) == (8, 8)


def test_an_object_is_cut_out_with_a_cell_around_it() -> None:
    image = picture(60, 80)
    # 5 x 4 cells of 8 pixels: nothing is resized.
    found = warped(image, np.array([16.0, 12, 56, 44]), (4, 5), 8)
    [expected] = dpm_features(np.ascontiguousarray(image[4:52, 8:64]), 8)
    assert found.shape == (4, 5, 32)
    assert np.array_equal(found, expected)


def test_beyond_the_image_the_border_goes_on() -> None:
    image = picture(40, 40)
    found = warped(image, np.array([0.0, 0, 32, 32]), (4, 4), 8)
    rows = np.clip(np.arange(-8, 40), 0, 39)
    [expected] = dpm_features(np.ascontiguousarray(image[rows[:, None], rows]), 8)
    assert np.array_equal(found, expected)


@pytest.mark.parametrize("box", [(10.0, 5, 70, 55), (30, 20, 34, 60), (0, 0, 1, 1)])
def test_objects_of_any_size_have_the_roots_size(box: tuple[float, ...]) -> None:
    assert warped(picture(60, 80), np.array(box), (3, 5), 8).shape == (3, 5, 32)


def test_a_mirrored_image_has_mirrored_features() -> None:
    coarse = np.random.default_rng(0).integers(0, 256, (7, 9, 3), dtype=np.uint8)
    image = cv2.resize(coarse, (64, 48), interpolation=cv2.INTER_CUBIC)
    [features], [turned] = dpm_features(image, 8), dpm_features(np.ascontiguousarray(image[:, ::-1]), 8)
    np.testing.assert_allclose(mirrored(features), slowly_mirrored(features.astype(float)), atol=1e-6)
    assert np.mean(np.abs(mirrored(features) - turned) > 0.05) < 0.02  # directions between two bins
    assert np.array_equal(mirrored(mirrored(features)), features)


def test_objects_are_turned_to_face_one_side() -> None:
    chance = np.random.default_rng(0)
    one = chance.normal(size=(3, 4, 32)).astype(np.float32)
    facing = chance.random(20) < 0.5
    objects = np.stack([mirrored(one) if each else one for each in facing])
    objects += 0.1 * chance.normal(size=objects.shape).astype(np.float32)
    turned = faces_left(objects, np.random.default_rng(1))
    assert (turned == facing).all() or (turned == ~facing).all()
    assert faces_left(objects[:1], np.random.default_rng(1)).shape == (1,)


def test_turning_one_more_object_would_not_make_them_more_alike() -> None:
    chance = np.random.default_rng(3)
    objects = chance.normal(size=(7, 2, 3, 32)).astype(np.float32)

    def scatter(turned: np.ndarray) -> float:
        chosen = np.stack([mirrored(own) if turn else own for own, turn in zip(objects, turned, strict=True)])
        return float(((chosen - chosen.mean(0)) ** 2).sum())

    best = min(scatter(np.array([(number >> bit) & 1 for bit in range(7)])) for number in range(128))
    assert scatter(faces_left(objects, np.random.default_rng(0))) == pytest.approx(best, rel=1e-5)


def bright(*places: tuple[int, int], size: tuple[int, int] = (6, 8)) -> np.ndarray:
    """Return a root with energy in some cells, and negative weights elsewhere."""
    root = np.full((*size, 32), -0.5)
    for number, (y, x) in enumerate(places, 1):
        root[y, x, number % 31] = number
    return root


def test_parts_lie_where_the_energy_is() -> None:
    root = bright((1, 1), (4, 6))
    anchors, filters = parts_of_root(root, 2, (4, 4), np.random.default_rng(0))
    assert anchors.shape == (2, 2)
    assert filters.shape == (2, 4, 4, 32)
    for x, y in anchors.tolist():
        assert 0 <= x <= 16 - 4
        assert 0 <= y <= 12 - 4
    covered = {(y // 2 + dy, x // 2 + dx) for x, y in anchors.tolist() for dy in (0, 1) for dx in (0, 1)}
    assert {(1, 1), (4, 6)} <= covered
    assert np.sqrt((filters**2).sum((1, 2, 3))) == pytest.approx([0.1, 0.1])


def test_a_part_is_a_piece_of_the_root_at_twice_its_resolution() -> None:
    root = np.zeros((5, 5, 32))
    root[..., 3] = np.arange(5)[:, None]  # a slope, which a cubic keeps
    [[x, y]], [part] = parts_of_root(root, 1, (4, 4), np.random.default_rng(0))
    slope = (np.arange(10) + 0.5) / 2 - 0.5
    inner = slice(1, -1) if y in (0, 6) else slice(None)
    expected = slope[y : y + 4]
    ratio = part[inner, 0, 3] / expected[inner]
    assert ratio == pytest.approx(ratio[0], rel=0.03)
    assert y == 6  # the lower end has the most energy
    assert (part[..., :3] == 0).all()
    assert x >= 0


def test_parts_that_are_larger_than_the_root_lie_on_an_enlarged_one() -> None:
    anchors, filters = parts_of_root(bright((1, 1), size=(2, 5)), 3, (6, 6), np.random.default_rng(0))
    assert filters.shape == (3, 6, 6, 32)
    assert (anchors[:, 1] == 0).all()


def test_moving_costs_little_in_the_beginning() -> None:
    assert DEFORMATION.tolist() == pytest.approx([0.01, 0, 0.01, 0])
