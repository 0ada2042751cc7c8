"""Boxes of objects, predicted from where filters are: least squares, for both sides."""

from __future__ import annotations

import numpy as np
import pytest

from detkit.detectors.dpm.examples import PlacedObject
from detkit.detectors.dpm.object_boxes import fit_boxes, predicted
from tests.detectors.dpm.test_weights import random_star

SIZE = (200, 300)


def placements(count: int, *, side: int, rule: np.ndarray, star: int = 0) -> list[PlacedObject]:
    """Return placements whose objects' boxes follow a rule of where three filters are."""
    chance = np.random.default_rng(count + side)
    found = []
    for _ in range(count):
        corner, sides = chance.uniform(20, 80, 2), chance.uniform(40, 90, 2)
        root = np.concatenate([corner, corner + sides])
        parts = [root + np.tile(chance.uniform(-9, 9, 2), 2) for _ in range(2)]
        filters = np.stack([root, *(part + np.array([5, 5, -20, -20]) for part in parts)])
        box = predicted(root[None], filters[None], rule)[0]
        found.append(PlacedObject(star, np.zeros(1, np.float32), 0.0, side, filters, box, SIZE))
    return found


def rule(seed: int) -> np.ndarray:
    return 0.1 * np.random.default_rng(seed).normal(size=(4, 7))


def turned(boxes: np.ndarray) -> np.ndarray:
    """Return boxes in the mirrored image."""
    return np.stack([SIZE[1] - boxes[..., 2], boxes[..., 1], SIZE[1] - boxes[..., 0], boxes[..., 3]], axis=-1)


def test_least_squares_find_the_rule_again() -> None:
    star = random_star(0, (4, 3), 2, mirrored=False)
    known = rule(0)
    found = fit_boxes(placements(40, side=0, rule=known), 0, star, 0.0)
    assert found.shape == (1, 4, 7)
    example = placements(5, side=0, rule=known)
    roots, filters = np.stack([e.filters[0] for e in example]), np.stack([e.filters for e in example])
    np.testing.assert_allclose(predicted(roots, filters, found[0]), [e.box for e in example], atol=1e-6)


def test_the_mirror_image_predicts_the_mirrored_box() -> None:
    star = random_star(0, (4, 3), 2)
    both = fit_boxes(placements(40, side=0, rule=rule(1)), 0, star, 0.01)
    assert both.shape == (2, 4, 7)
    [example] = placements(1, side=0, rule=rule(1))
    root, filters = example.filters[:1], example.filters[None]
    box = predicted(root, filters, both[0])
    np.testing.assert_allclose(predicted(turned(root), turned(filters), both[1]), turned(box), atol=0.5)


def test_objects_of_either_side_teach_both() -> None:
    star = random_star(0, (4, 3), 2)
    own, other = placements(20, side=0, rule=rule(2)), []
    for positive in placements(20, side=0, rule=rule(2)):
        other.append(positive._replace(side=1, filters=turned(positive.filters), box=turned(positive.box)))
    apart, together = fit_boxes(own, 0, star, 0.0), fit_boxes(own[:10] + other[10:], 0, star, 0.0)
    np.testing.assert_allclose(apart[0], together[0], atol=1e-5)


def test_only_the_stars_own_objects_count_and_without_any_the_box_is_the_roots() -> None:
    star = random_star(0, (4, 3), 2)
    positives = placements(10, side=0, rule=rule(3), star=1)
    assert (fit_boxes(positives, 0, star, 0.01) == 0).all()
    assert (fit_boxes(positives, 1, star, 0.01) != 0).any()
    root = positives[0].filters[:1]
    np.testing.assert_allclose(predicted(root, positives[0].filters[None], np.zeros((4, 7))), root)


def test_a_ridge_keeps_coefficients_small_but_not_the_constant() -> None:
    star = random_star(0, (4, 3), 2, mirrored=False)
    known = np.zeros((4, 7))
    known[:, -1] = [0.3, -0.2, 0.1, 0.4]
    known[0, 2] = 1.0
    free, held = (fit_boxes(placements(30, side=0, rule=known), 0, star, ridge)[0] for ridge in (0.0, 100.0))
    assert free[0, 2] == pytest.approx(1.0, abs=1e-5)
    assert abs(held[0, 2]) < 0.05
    assert held[1:, -1] == pytest.approx([-0.2, 0.1, 0.4], abs=0.01)


def test_roots_are_clipped_to_the_image_as_in_a_test() -> None:
    """So strong a ridge leaves the constant: how far the object's sides are from the clipped root's."""
    star = random_star(0, (4, 3), 0, mirrored=False)
    filters, box = np.array([[-21.0, 11, 79, 231]]), np.array([10.0, 20, 90, 190])
    positive = PlacedObject(0, np.zeros(1, np.float32), 0.0, 0, filters, box, SIZE)
    found = fit_boxes([positive], 0, star, 1e12)[0]
    width, height = 79 - 0 - 1, 200 - 11 - 1  # of inclusive pixels
    expected = [10 / width, (20 - 11) / height, (90 - 79) / width, (190 - 200) / height]
    assert found[:, -1] == pytest.approx(expected, abs=1e-6)
    assert found[:, :-1] == pytest.approx(np.zeros((4, 2)), abs=1e-6)
