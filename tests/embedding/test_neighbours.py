from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from detkit.data.near_duplicates import THUMBNAIL_PX
from detkit.embedding.neighbours import (
    FEWEST,
    Neighbours,
    disagreement,
    duplicates,
    nearest_neighbours,
    normalised,
    suspects,
    votes,
)


def clusters(
    per_class: int, num_classes: int = 4, spread: float = 0.6, seed: int = 0
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return codes around a centre for each class, and their classes."""
    chance = np.random.default_rng(seed)
    labels = np.repeat(np.arange(num_classes), per_class)
    centres = chance.normal(size=(num_classes, 16))
    codes = centres[labels] + spread * chance.normal(size=(len(labels), 16))
    return codes.astype(np.float32), labels


def slow_scores(
    codes: NDArray[np.float32], labels: NDArray[np.int64], num_classes: int, k: int, groups: list[int]
) -> list[tuple[float, int]]:
    """Return disagreement and suggestion of each, from Dudani's formula, one pair after another."""
    units = [[value / math.sqrt(sum(v * v for v in code)) for value in code] for code in codes.tolist()]
    result = []
    for one in range(len(units)):
        others = [other for other in range(len(units)) if other != one and groups[other] != groups[one]]
        ranked = sorted((math.dist(units[one], units[other]), other) for other in others)[: k + 1]
        nearest, farthest = ranked[0][0], ranked[-1][0]
        shares = [0.0] * num_classes
        for distance, other in ranked[:k]:
            shares[labels[other]] += (farthest - distance) / (farthest - nearest)
        total = sum(shares)
        best = max((share, -label) for label, share in enumerate(shares) if label != labels[one])
        result.append(((best[0] - shares[labels[one]]) / total, -best[1]))
    return result


@pytest.mark.parametrize("grouped", [False, True])
def test_disagreement_is_that_of_dudanis_weights(grouped: bool) -> None:
    codes, labels = clusters(12, spread=1.2)
    groups = np.arange(len(labels)) // 3 if grouped else np.arange(len(labels))
    near = nearest_neighbours(codes, groups if grouped else None, num=5)
    scores, suggested = disagreement(labels, votes(labels, near, 4))
    slow = slow_scores(codes, labels, 4, 5, groups.tolist())
    np.testing.assert_allclose(scores, [score for score, _ in slow], atol=2e-4)
    certain = [place for place, (score, _) in enumerate(slow) if score > -0.99]
    assert suggested[certain].tolist() == [slow[place][1] for place in certain]
    assert len(certain) > 10


def test_neighbours_come_nearest_first_and_none_is_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    codes, _ = clusters(10)
    whole = nearest_neighbours(codes)
    monkeypatch.setattr("detkit.embedding.neighbours._PRODUCTS", 3 * len(codes))
    parts = nearest_neighbours(codes)
    assert whole.rows.tolist() == parts.rows.tolist()
    assert (np.diff(whole.distances, axis=1) >= 0).all()
    assert not (whole.rows == np.arange(len(codes))[:, None]).any()
    units = normalised(codes)
    expected = np.linalg.norm(units[:, None] - units[whole.rows], axis=2)
    np.testing.assert_allclose(whole.distances, expected, atol=1e-3)


@pytest.mark.parametrize("seed", range(3))
def test_planted_errors_are_found_with_the_class_that_is_right(seed: int) -> None:
    codes, truth = clusters(40, num_classes=5, seed=seed)
    chance = np.random.default_rng(seed)
    wrong = chance.choice(len(truth), 10, replace=False)
    labels = truth.copy()
    labels[wrong] = (truth[wrong] + chance.integers(1, 5, 10)) % 5
    scores, suggested = disagreement(labels, votes(labels, nearest_neighbours(codes), 5))
    found = suspects(scores)
    assert set(found) >= set(wrong[:8]) & set(found)
    assert np.isin(found, wrong).mean() >= 0.9
    assert np.isin(wrong, found).mean() >= 0.9
    right = np.intersect1d(found, wrong)
    assert (suggested[right] == truth[right]).all()
    assert (np.diff(scores[found]) <= 0).all()


def test_divided_neighbours_make_no_suspect() -> None:
    shares = np.array([[0.0, 0.5, 0.5], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.3, 0.7, 0.0]])
    scores, _ = disagreement(np.zeros(4, np.int64), shares)
    np.testing.assert_allclose(scores, [0.5, 1, -1, 0.4])
    assert suspects(scores).tolist() == [1]


def test_small_classes_and_what_has_no_class_are_not_judged_and_have_no_vote() -> None:
    codes, labels = clusters(20, num_classes=2)
    labels[: FEWEST - 1], labels[FEWEST - 1 : 20] = 0, 1
    scores, _ = disagreement(labels, votes(labels, nearest_neighbours(codes), 2))
    assert (scores[: FEWEST - 1] == -1).all()
    labels[:] = -1
    shares = votes(labels, nearest_neighbours(codes), 2)
    assert not shares.any()
    assert (disagreement(labels, shares)[0] == -1).all()


@pytest.mark.parametrize("count", range(5))
def test_few_codes_have_few_neighbours(count: int) -> None:
    codes, labels = clusters(5, num_classes=1)
    near = nearest_neighbours(codes[:count])
    assert near.rows.shape == (count, max(count - 1, 0))
    for num_classes in (1, 2):
        scores, suggested = disagreement(labels[:count], votes(labels[:count], near, num_classes))
        assert scores.shape == suggested.shape == (count,)
        assert not len(suspects(scores))


def test_equal_codes_and_codes_of_zeros_have_finite_votes() -> None:
    labels = np.array([0, 0, 0, 0, 1])
    for codes in (np.ones((5, 3), np.float32), np.zeros((5, 3), np.float32)):
        near = nearest_neighbours(codes)
        assert np.isfinite(near.weights).all()
        np.testing.assert_allclose(votes(labels, near, 2).sum(axis=1), 1)


def test_where_all_others_are_of_the_same_group_nobody_votes() -> None:
    codes, labels = clusters(5, num_classes=2)
    near = nearest_neighbours(codes, np.zeros(10, np.int64))
    assert not near.weights.any()
    assert (disagreement(labels, votes(labels, near, 2))[0] == 0).all()


def test_near_duplicates_are_alike_by_code_and_by_pixels_in_different_images() -> None:
    chance = np.random.default_rng(0)
    pixels = chance.integers(0, 256, (5, THUMBNAIL_PX, THUMBNAIL_PX), dtype=np.uint8)
    pixels[1] = np.clip(pixels[0].astype(int) + 3, 0, 255)
    pixels[3] = pixels[2]
    codes = np.eye(5, 8, dtype=np.float32)
    codes[1], codes[3], codes[4] = codes[0] + 0.01, codes[2], codes[2]  # the last looks different
    near = nearest_neighbours(codes)
    images = np.arange(5)
    found = duplicates(near, images, pixels)
    assert [pair[:2] for pair in found] == [(2, 3), (0, 1)]
    cosine = codes[0] @ codes[1] / np.linalg.norm(codes[1])
    assert found[1][2] == pytest.approx(1 - cosine, abs=1e-5)
    images[3] = images[2]
    assert [pair[:2] for pair in duplicates(near, images, pixels)] == [(0, 1)]


def test_weights_fall_from_one_to_zero_behind_the_last() -> None:
    near = Neighbours(np.array([[1, 2, 3]]), np.array([[0.1, 0.2, 0.5]], np.float32))
    np.testing.assert_allclose(near.weights, [[1, 0.75]], rtol=1e-6)
