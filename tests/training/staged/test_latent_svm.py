"""Latent SVMs: the objective against the definition, its gradient, and what the fit finds."""

from __future__ import annotations

import math

import numpy as np
import pytest

from detkit.errors import UserError
from detkit.training.staged.latent_svm import LatentSVM, ModelPlacements, Weights, _LiveRows, soft_maximum


def problem(seed: int = 0) -> tuple[list[ModelPlacements], np.ndarray]:
    """Return placements of two models in twelve examples, four of the class; negatives have several."""
    chance = np.random.default_rng(seed)
    own = np.array([0, 1, 4, 4, 5, 6, 7, 8, 8, 9]), np.array([2, 3, 4, 5, 5, 6, 10, 11])
    return [
        ModelPlacements(chance.normal(size=(len(examples), width)).astype(np.float32), examples)
        for examples, width in zip(own, (3, 5), strict=True)
    ], np.arange(12) < 4


def objective(
    placements: list[ModelPlacements],
    positive: np.ndarray,
    weights: list[np.ndarray],
    penalties: list[np.ndarray],
    c: float,
    factor: float,
) -> float:
    """Return the objective as the paper and the authors' release write it, one example at a time."""
    norms = [
        0.5 * sum(p * w * w for p, w in zip(*pair, strict=True))
        for pair in zip(penalties, weights, strict=True)
    ]
    total = float(np.logaddexp.reduce(1000 * np.array(norms))) / 1000
    for example in range(len(positive)):
        scores = [
            float(np.dot(row.astype(float), own))
            for placed, own in zip(placements, weights, strict=True)
            for row, number in zip(placed.features, placed.examples, strict=True)
            if number == example
        ]
        if not scores:
            continue
        if positive[example]:
            total += c * factor * max(0.0, 1 - max(scores))
        else:
            total += c * max(0.0, 1 + max(scores))
    return total


def free(width: int, start: np.ndarray | None = None) -> Weights:
    """Return weights that nothing holds."""
    zeros = np.zeros(width)
    return Weights(
        zeros if start is None else start, np.ones(width), np.full(width, -np.inf), zeros.astype(bool)
    )


def test_the_objective_is_the_authors() -> None:
    placements, positive = problem()
    svm = LatentSVM(placements, positive, c=0.3, positive_weight=2.0)
    chance = np.random.default_rng(1)
    for _ in range(5):
        weights = [0.4 * chance.normal(size=3), 0.4 * chance.normal(size=5)]
        penalties = [np.array([1.0, 10, 0]), np.ones(5)]
        value = svm.value(weights, penalties)
        expected = objective(placements, positive, weights, penalties, 0.3, 2.0)
        assert value.total == pytest.approx(expected, rel=1e-6)
        assert value.penalty == pytest.approx(soft_maximum(weights, penalties)[0])
        alone = LatentSVM(
            [ModelPlacements(p.features[p.examples < 4], p.examples[p.examples < 4]) for p in placements],
            positive,
            c=0.3,
            positive_weight=2.0,
        )
        assert value.positives == pytest.approx(alone.value(weights, penalties).positives)
        assert alone.value(weights, penalties).negatives == 0


def test_nothing_nearby_is_better_than_what_is_fitted() -> None:
    placements, positive = problem()
    svm = LatentSVM(placements, positive, c=0.3)
    penalties = [np.ones(3), np.ones(5)]
    fitted = svm.fit([free(3), free(5)])
    least = objective(placements, positive, fitted, penalties, 0.3, 1.0)
    assert least < objective(placements, positive, [np.zeros(3), np.zeros(5)], penalties, 0.3, 1.0)
    chance = np.random.default_rng(2)
    for size in (0.3, 0.03, 0.003):
        for _ in range(200):
            near = [own + size * chance.normal(size=len(own)) for own in fitted]
            assert objective(placements, positive, near, penalties, 0.3, 1.0) > least - 2e-5


def test_no_norm_matters_but_the_largest() -> None:
    """With a plain sum of the norms the second model, whose objects cost more to learn, would stay lower."""
    positive = np.array([True, False, True, False])
    easy = ModelPlacements(np.array([[1.0], [-1.0]], np.float32), np.array([0, 1]))
    hard = ModelPlacements(np.array([[0.5], [-0.5]], np.float32), np.array([2, 3]))
    _, second = LatentSVM([easy, hard], positive, c=10.0).fit([free(1), free(1)])
    assert 0.5 * float(second @ hard.features[0]) == pytest.approx(0.5, abs=0.01)  # a margin of 1
    assert float(second[0]) == pytest.approx(2, abs=0.02)
    cheap = LatentSVM([easy, hard], positive, c=0.4).fit([free(1), free(1)])
    # Alone the second would be 0.4: a weight w costs w * w / 2 and gains 0.8 * w / 2.
    assert float(cheap[1][0]) == pytest.approx(float(cheap[0][0]), abs=0.01)


def test_fixed_weights_stay_and_others_keep_their_bounds() -> None:
    placements, positive = problem()
    least = np.array([-np.inf, 0.25, -np.inf])
    held = Weights(np.array([0.0, 0.0, 0.7]), np.ones(3), least, np.array([False, False, True]))
    first, _ = LatentSVM(placements, positive, c=0.3).fit([held, free(5)])
    assert first[2] == 0.7
    assert first[1] >= 0.25
    assert first[0] != 0


def test_the_scores_are_those_of_each_placement() -> None:
    placements, positive = problem()
    weights = [np.array([1.0, -2, 0.5]), np.arange(5.0)]
    found = LatentSVM(placements, positive, c=1.0).scores(weights)
    for own, placed, plane in zip(found, placements, weights, strict=True):
        assert own == pytest.approx([float(row @ plane) for row in placed.features], rel=1e-5)


def test_a_model_without_placements_keeps_its_weights_small() -> None:
    placements, positive = problem()
    empty = ModelPlacements(np.zeros((0, 2), np.float32), np.zeros(0, np.int64))
    start = np.array([0.3, -0.2])
    fitted = LatentSVM([*placements, empty], positive, c=0.3).fit([free(3), free(5), free(2, start)])
    assert np.isfinite(fitted[2]).all()
    assert (np.abs(fitted[2]) <= np.abs(start)).all()


def test_features_that_are_no_numbers_are_an_error() -> None:
    bad = ModelPlacements(np.array([[np.nan], [1.0]], np.float32), np.array([0, 1]))
    with pytest.raises(UserError, match="infinite or not a number"):
        LatentSVM([bad], np.array([True, False]), c=1.0).fit([free(1)])


def test_the_soft_maximum_lies_between_the_largest_norm_and_that_of_all_being_so_large() -> None:
    weights = [np.array([1.0, 2]), np.array([2.0, 1]), np.array([0.0, 0])]
    penalties = [np.ones(2), np.ones(2), np.ones(2)]
    value, gradients = soft_maximum(weights, penalties)
    assert value == pytest.approx(2.5 + math.log(2) / 1000)
    assert np.stack(gradients).tolist() == [[0.5, 1.0], [1.0, 0.5], [0.0, 0.0]]
    nudged = [weights[0] + np.array([1e-6, 0]), *weights[1:]]
    assert (soft_maximum(nudged, penalties)[0] - value) / 1e-6 == pytest.approx(0.5, abs=1e-3)


def test_rows_that_are_left_out_are_those_without_loss() -> None:
    """Whichever rows are live, the losses and the pull are those of all."""
    chance = np.random.default_rng(0)
    features = chance.normal(size=(300, 6)).astype(np.float32)
    negative = np.arange(300) >= 20
    live, weights = _LiveRows(features, negative), np.array([-2.0, 0.5, 0, 0, 1, 0])
    chosen = set()
    for turn in range(200):
        weights = weights + (0.2 if turn % 50 == 0 else 0.002) * chance.normal(size=6)
        scores = live.scores(weights)
        every = features @ weights
        known = np.isfinite(scores)
        np.testing.assert_allclose(scores[known], every[known], atol=1e-5)
        assert (every[~known] < -1).all()
        assert known[:20].all()
        slopes = np.where(known & (every > -1), 1.0, 0.0)
        np.testing.assert_allclose(live.pulled(slopes), slopes @ features, atol=1e-3)
        chosen.add(int(known.sum()))
    assert min(chosen) < 240  # of which a third is below -1
    assert max(chosen) == 300
