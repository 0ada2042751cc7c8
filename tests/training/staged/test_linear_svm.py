from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.svm import LinearSVC

from detkit.errors import UserError
from detkit.training.staged.linear_svm import LinearSVM, train_svm

Examples = tuple[NDArray[np.float32], NDArray[np.bool_]]
RCNN = {"c": 0.001, "positive_weight": 2.0, "bias_multiplier": 10.0}


def made_examples(count: int, size: int, seed: int = 0) -> Examples:
    """Positive features of mean norm 20, one in eight of the class, which is not quite separable."""
    chance = np.random.default_rng(seed)
    features = np.maximum(chance.standard_normal((count, size)), 0)
    positive = chance.random(count) < 0.125
    positive[:2] = True, False
    features[positive] += 0.3 * chance.random(size)
    return (features * 20 / np.linalg.norm(features, axis=1).mean()).astype(np.float32), positive


def objective(svm: LinearSVM, features: NDArray[np.float32], positive: NDArray[np.bool_]) -> float:
    """What R-CNN's SVM is to make small, one example at a time."""
    total = 0.5 * (sum(w * w for w in svm.weights) + (svm.bias / 10) ** 2)
    for row, is_positive in zip(features.astype(np.float64), positive, strict=True):
        margin = row @ svm.weights + svm.bias
        total += 0.001 * (2.0 * max(0.0, 1 - margin) if is_positive else max(0.0, 1 + margin))
    return float(total)


@pytest.mark.parametrize(("count", "size"), [(60, 200), (400, 30)])
def test_objective_is_scikit_learns(count: int, size: int) -> None:
    """Against an independent call, run far longer, on the constant feature written out."""
    features, positive = made_examples(count, size)
    peer = LinearSVC(
        loss="hinge", C=0.001, class_weight={True: 2.0}, fit_intercept=False, tol=1e-10, max_iter=10**6
    )
    peer.fit(np.column_stack([features, np.full(count, 10.0)]).astype(np.float64), positive)
    best = objective(LinearSVM(peer.coef_[0, :-1], 10 * peer.coef_[0, -1]), features, positive)
    ours = objective(train_svm(features, positive, **RCNN), features, positive)
    assert ours == pytest.approx(best, rel=1e-6)


def test_no_small_step_from_the_plane_makes_it_better() -> None:
    features, positive = made_examples(200, 12)
    svm = train_svm(features, positive, **RCNN)
    least = objective(svm, features, positive)
    for direction in np.random.default_rng(1).standard_normal((20, 13)):
        moved = LinearSVM(svm.weights + 1e-3 * direction[:-1], svm.bias + 1e-2 * direction[-1])
        assert objective(moved, features, positive) > least


def test_a_smaller_bias_multiplier_keeps_the_bias_smaller() -> None:
    features, positive = made_examples(200, 12)
    biases = [
        abs(train_svm(features, positive, c=0.001, positive_weight=2.0, bias_multiplier=b).bias)
        for b in (0.1, 10.0)
    ]
    assert biases[0] < 0.1 * biases[1]


def test_training_is_the_same_every_time() -> None:
    examples = made_examples(100, 20)
    first, second = (train_svm(*examples, **RCNN) for _ in range(2))
    assert np.array_equal(first.weights, second.weights)
    assert first.bias == second.bias


@pytest.mark.parametrize("all_positive", [True, False])
def test_examples_of_one_kind_are_refused(all_positive: bool) -> None:
    with pytest.raises(UserError, match=r"both kinds; got \d+ positive and \d+ negative"):
        train_svm(np.ones((3, 2), np.float32), np.full(3, all_positive), **RCNN)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_features_that_are_no_numbers_are_refused(value: float) -> None:
    features, positive = made_examples(10, 3)
    features[4, 1] = value
    with pytest.raises(UserError, match="not a number"):
        train_svm(features, positive, **RCNN)


def test_liblinear_says_when_it_was_not_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("detkit.training.staged.linear_svm._PASSES", 2)
    features, positive = made_examples(200, 10)
    with pytest.warns(UserWarning, match=r"liblinear ended after 2 passes.*N = 200, c = 10"):
        svm = train_svm(features, positive, **{**RCNN, "c": 10.0})
    assert np.isfinite(svm.weights).all()
