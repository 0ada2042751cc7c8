"""A star model as a vector: features times weights are the scores that the search gives."""

from __future__ import annotations

import numpy as np
import pytest

from detkit.detectors.dpm.examples import class_model, star_and_side
from detkit.detectors.dpm.search import levels_of_roots, score_maps
from detkit.detectors.dpm.weights import StarWeights
from detkit.models.hog.feature_pyramid import FeaturePyramid
from tests.detectors.dpm.small_models import picture


def random_star(seed: int, root: tuple[int, int], num_parts: int, *, mirrored: bool = True) -> StarWeights:
    """Return a star model with random weights and stiff enough parts."""
    chance = np.random.default_rng(seed)
    star = StarWeights.of_root(root, (3, 2), mirrored=mirrored)
    star = star.with_values(0.3 * chance.normal(size=len(star.values)))
    if not num_parts:
        star.split(star.values)[3][:] = [-1000.0, 0.2, -0.1]
        return star
    anchors = chance.integers(0, 2 * min(root) - 2, (num_parts, 2))
    filters = 0.3 * chance.normal(size=(num_parts, 3, 2, 32))
    star = star.with_parts(anchors, filters, np.array([0.2, 0.05, 0.1, -0.02]))
    star.split(star.values)[3][:] = [0.3, 0.2, -0.1]
    return star


@pytest.mark.parametrize("num_parts", [0, 3])
@pytest.mark.parametrize("mirrored", [True, False])
def test_features_times_weights_are_the_scores(num_parts: int, mirrored: bool) -> None:
    stars = [
        random_star(seed, root, num_parts, mirrored=mirrored) for seed, root in enumerate([(4, 3), (3, 5)])
    ]
    model, seen = class_model(stars), set()
    pyramid = FeaturePyramid(4, 2)
    for phase in range(2):
        for level, fine in levels_of_roots(pyramid.levels(picture(60, 80), phase), num_parts):
            if level.octave == 0 or not level.features.size:
                continue
            [maps] = score_maps([model], level, fine)
            finite = np.isfinite(maps.scores)
            for number, (star, side) in enumerate(star_and_side(stars)):
                places = np.argwhere(finite[number])
                found = maps.placements(np.full(len(places), number), places)
                features = stars[star].features(found, level, fine, side, model.padding)
                scores = features.astype(np.float64) @ stars[star].values
                np.testing.assert_allclose(scores, found.scores, atol=2e-5)
                seen.add((star, side, level.octave, len(places) > 0))
    assert {(star, side) for star, side, _, some in seen if some} == set(star_and_side(stars))
    assert {octave for *_, octave, some in seen if some} >= {1, 2}


def test_a_root_alone_is_kept_out_of_the_finest_octave_and_fitted_without_its_location() -> None:
    star = StarWeights.of_root((4, 3), (6, 6), mirrored=True)
    assert star.components()[0].location_at(0) == -1000
    assert star.components()[0].location_at(1) == star.components()[0].location_at(5) == 0
    known = star.trainable()
    assert known.fixed[-4:-1].all()
    assert not known.fixed[:-4].any()
    assert not known.fixed[-1]
    assert known.penalty[-4:].tolist() == [0, 0, 0, 0]
    assert (known.penalty[:-4] == 1).all()


def test_with_parts_it_learns_its_location_and_costs_of_moving_that_stay_positive() -> None:
    star = random_star(0, (4, 3), 2)
    known = star.trainable()
    assert not known.fixed.any()
    _, parts, costs, location, bias = star.split(known.penalty)
    assert (parts == 1).all()
    assert (costs == 10).all()
    assert (location == 1).all()
    assert bias == 0
    least = star.split(known.least)[2]
    assert (least[:, ::2] == 0.001).all()
    assert np.isneginf(least[:, 1::2]).all()
    assert np.isneginf(star.split(known.least)[1]).all()


def test_a_vector_is_split_into_what_the_model_is_made_of() -> None:
    star = random_star(0, (4, 3), 2)
    own, turned = star.components()
    root, parts, costs, location, bias = star.split(star.values)
    np.testing.assert_allclose(own.root, root, rtol=1e-6)
    np.testing.assert_allclose(own.parts, parts, rtol=1e-6)
    assert own.deformations.tolist() == costs.tolist() == [[0.2, 0.05, 0.1, -0.02]] * 2
    assert own.offset == pytest.approx(10 * float(bias))
    assert own.location.tolist() == location.tolist() == [0.3, 0.2, -0.1]
    assert turned.deformations.tolist() == [[0.2, -0.05, 0.1, -0.02]] * 2
    assert star.num_sides == 2
    assert len(random_star(0, (4, 3), 2, mirrored=False).components()) == 1
