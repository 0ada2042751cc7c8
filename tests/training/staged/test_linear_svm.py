from __future__ import annotations

import warnings

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.svm import LinearSVC

from detkit.errors import UserError
from detkit.training.staged.linear_svm import LinearSVM, Solver, svm_objective, train_svm
from detkit.training.staged.linear_svm_interior_point import interior_point

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


def by_hand(svm: LinearSVM, examples: Examples, c: float, weight: float, multiplier: float) -> float:
    total = 0.5 * (sum(w * w for w in svm.weights) + (svm.bias / multiplier) ** 2)
    for row, positive in zip(*examples, strict=True):
        margin = sum(w * float(x) for w, x in zip(svm.weights, row, strict=True)) + svm.bias
        total += c * (weight * max(0.0, 1 - margin) if positive else max(0.0, 1 + margin))
    return float(total)


@pytest.mark.parametrize("solver", ["liblinear", "torch"])
@pytest.mark.parametrize(("count", "size"), [(60, 200), (400, 30)])  # both forms of the second solver
def test_objective_is_scikit_learns(count: int, size: int, solver: Solver) -> None:
    """Against an independent call, run far longer, on the constant feature written out."""
    features, positive = made_examples(count, size)
    peer = LinearSVC(
        loss="hinge", C=0.001, class_weight={True: 2.0}, fit_intercept=False, tol=1e-10, max_iter=10**6
    )
    peer.fit(np.column_stack([features, np.full(count, 10.0)]).astype(np.float64), positive)
    best = svm_objective(LinearSVM(peer.coef_[0, :-1], 10 * peer.coef_[0, -1]), features, positive, **RCNN)
    ours = svm_objective(train_svm(features, positive, **RCNN, solver=solver), features, positive, **RCNN)
    assert ours == pytest.approx(best, rel=1e-6)


@pytest.mark.parametrize("c", [1e-4, 0.01])
def test_both_solvers_end_at_the_same_plane(c: float) -> None:
    features, positive = made_examples(300, 50, seed=3)
    settings = {**RCNN, "c": c}
    one, other = (train_svm(features, positive, **settings, solver=name) for name in ("liblinear", "torch"))
    np.testing.assert_allclose(one.weights, other.weights, atol=2e-3 * np.abs(other.weights).max())
    assert one.bias == pytest.approx(other.bias, abs=2e-3)


def test_objective_sums_and_pulls_the_bias_too() -> None:
    examples = made_examples(20, 4)
    svm = LinearSVM(np.array([0.1, -0.2, 0.05, 0.0]), 0.7)
    ours = svm_objective(svm, *examples, c=0.01, positive_weight=3.0, bias_multiplier=5.0)
    assert ours == pytest.approx(by_hand(svm, examples, 0.01, 3.0, 5.0))


def test_no_small_step_from_the_plane_makes_it_better() -> None:
    features, positive = made_examples(200, 12)
    svm = train_svm(features, positive, **RCNN, solver="torch")
    least = svm_objective(svm, features, positive, **RCNN)
    for direction in np.random.default_rng(1).standard_normal((20, 13)):
        moved = LinearSVM(svm.weights + 1e-3 * direction[:-1], svm.bias + 1e-2 * direction[-1])
        assert svm_objective(moved, features, positive, **RCNN) > least


def test_a_smaller_bias_multiplier_keeps_the_bias_smaller() -> None:
    features, positive = made_examples(200, 12)
    biases = [
        abs(train_svm(features, positive, c=0.001, positive_weight=2.0, bias_multiplier=b).bias)
        for b in (0.1, 10.0)
    ]
    assert biases[0] < 0.1 * biases[1]


@pytest.mark.parametrize("solver", ["liblinear", "torch"])
def test_training_is_the_same_every_time(solver: Solver) -> None:
    examples = made_examples(100, 20)
    first, second = (train_svm(*examples, **RCNN, solver=solver) for _ in range(2))
    assert np.array_equal(first.weights, second.weights)
    assert first.bias == second.bias


@pytest.mark.parametrize("solver", ["liblinear", "torch"])
@pytest.mark.parametrize("all_positive", [True, False])
def test_examples_of_one_kind_are_refused(solver: Solver, all_positive: bool) -> None:
    with pytest.raises(UserError, match=r"both kinds; got \d+ positive and \d+ negative"):
        train_svm(np.ones((3, 2), np.float32), np.full(3, all_positive), **RCNN, solver=solver)


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


def test_the_second_solver_says_when_it_was_not_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("detkit.training.staged.linear_svm_interior_point._STEPS", 1)
    with pytest.warns(UserWarning, match="above the least"):
        train_svm(*made_examples(200, 10), **RCNN, solver="torch")


def test_gap_bounds_the_distance_to_the_best() -> None:
    features, positive = made_examples(150, 20)
    signs, limits = np.where(positive, 1.0, -1.0), np.where(positive, 0.002, 0.001)
    plane, gap = interior_point(features, signs, limits, 10.0, "cpu")
    assert gap <= 1e-9
    svm = LinearSVM(plane[:-1], 10.0 * plane[-1])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        other = train_svm(features, positive, **RCNN)
    least = svm_objective(svm, features, positive, **RCNN)
    assert least <= svm_objective(other, features, positive, **RCNN) * (1 + 1e-9)


def test_no_examples_give_the_plane_of_zeros() -> None:
    plane, gap = interior_point(np.zeros((0, 3), np.float32), np.zeros(0), np.zeros(0), 10.0, "cpu")
    assert plane.tolist() == [0.0] * 4
    assert gap == 0.0
