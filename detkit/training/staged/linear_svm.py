"""The linear support vector machine that says yes or no to one class."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from detkit.errors import UserError

Solver = Literal["liblinear", "torch"]
# liblinear ends when no example pulls harder than this, which leaves about 1e-6 of the objective, or after
# so many passes over them.
_PULL, _PASSES = 3e-6, 10_000
_GAP = 1e-5  # relative to the objective; the interior point method ends far below, unless rounding stops it


@dataclass(frozen=True, eq=False)
class LinearSVM:
    """A hyperplane; the score of a feature vector is its margin, positive on the side of the class.

    Attributes:
        weights: (D,) float64.
        bias: added to every score.
    """

    weights: NDArray[np.float64]
    bias: float

    def scores(self, features: NDArray[np.floating[Any]]) -> NDArray[np.floating[Any]]:
        """Return (N,) margins of (N, D) features."""
        margins: NDArray[np.floating[Any]] = features @ self.weights + self.bias
        return margins


def train_svm(
    features: NDArray[np.floating[Any]],
    positive: NDArray[np.bool_],
    *,
    c: float,
    positive_weight: float,
    bias_multiplier: float,
    solver: Solver = "liblinear",
    device: str = "cpu",
) -> LinearSVM:
    """Return the hyperplane of the least `svm_objective`, always from scratch.

    R-CNN takes c = 0.001, a positive weight of 2 and a bias multiplier of 10 on features whose mean norm
    is 20. Both solvers end at the same plane, up to their tolerance: liblinear (dual coordinate descent)
    on one processor core; `torch` (an interior point method, `linear_svm_interior_point`) where there is a
    GPU. Each holds a float64 copy of the features, the second one two.

    Args:
        features: (N, D).
        positive: (N,) which are of the class.
        c: weight of the hinge losses, which are summed, against the norm of the plane.
        positive_weight: factor on the hinge losses of positives.
        bias_multiplier: constant appended to the features; large values let the bias grow at less cost.
        solver: how to find it.
        device: where the solver `torch` computes, such as cuda; it needs float64 there.

    Raises:
        UserError: all examples are of one kind, or a feature is not finite.

    Warns:
        UserWarning: the solver stopped before it was done.

    Reference: Fan, Chang, Hsieh, Wang & Lin, LIBLINEAR, JMLR 2008; Girshick et al., CVPR 2014, section 2.3.
    """
    _check(features, positive)
    if solver == "torch":
        from detkit.training.staged.linear_svm_interior_point import interior_point

        limits = np.where(positive, c * positive_weight, c)
        signs = np.where(positive, 1.0, -1.0)
        plane, gap = interior_point(features, signs, limits, bias_multiplier, device)
        if gap > _GAP:
            _tell_unfinished(features, c, f"its objective may be {gap:.1%} above the least")
        return LinearSVM(plane[:-1], float(plane[-1] * bias_multiplier))
    return _by_liblinear(features, positive, c, positive_weight, bias_multiplier)


def svm_objective(
    svm: LinearSVM,
    features: NDArray[np.floating[Any]],
    positive: NDArray[np.bool_],
    *,
    c: float,
    positive_weight: float,
    bias_multiplier: float,
) -> float:
    """Return what training minimises: 0.5 (|w|² + (b / B)²) + c Σ weight · max(0, 1 - margin).

    B is the bias multiplier, so the bias is regularised too; the margin is the score, negated for
    negatives. Sums, not means: more examples count more against the norm.

    Args:
        svm: the plane to judge.
        features: (N, D).
        positive: (N,) which are of the class.
        c: see `train_svm`.
        positive_weight: see `train_svm`.
        bias_multiplier: see `train_svm`.
    """
    scores = svm.scores(features.astype(np.float64))
    hinge = np.maximum(0.0, 1.0 - np.where(positive, scores, -scores))
    norm = svm.weights @ svm.weights + (svm.bias / bias_multiplier) ** 2
    return float(0.5 * norm + c * (np.where(positive, positive_weight, 1.0) @ hinge))


def _check(features: NDArray[np.floating[Any]], positive: NDArray[np.bool_]) -> None:
    count = int(positive.sum())
    if count in (0, len(positive)):
        raise UserError(
            f"SVM: needs examples of both kinds; got {count} positive and {len(positive) - count} negative"
        )
    if not np.isfinite(features).all():
        raise UserError("SVM: a feature is infinite or not a number; check the weights of the network")


def _by_liblinear(
    features: NDArray[np.floating[Any]],
    positive: NDArray[np.bool_],
    c: float,
    positive_weight: float,
    bias_multiplier: float,
) -> LinearSVM:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.svm import LinearSVC

    machine = LinearSVC(
        loss="hinge",
        dual=True,
        C=c,
        class_weight={True: positive_weight, False: 1.0},
        intercept_scaling=bias_multiplier,
        tol=_PULL,
        max_iter=_PASSES,
        random_state=0,  # the order of the coordinates
    )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        machine.fit(features, positive)
    for warning in caught:
        if not issubclass(warning.category, ConvergenceWarning):
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
        else:
            _tell_unfinished(features, c, f"liblinear ended after {_PASSES} passes over the examples")
    return LinearSVM(machine.coef_[0], float(machine.intercept_[0]))


def _tell_unfinished(features: NDArray[np.floating[Any]], c: float, how: str) -> None:
    norm = np.linalg.norm(features[:200], axis=1).mean()
    warnings.warn(
        f"SVM: not at its best: {how} (N = {len(features)}, c = {c:g}, mean norm of features {norm:.3g}). "
        "Its scores are usable, but another machine may give others; a smaller c, or features scaled to a "
        "mean norm of 20, are learned sooner",
        stacklevel=4,
    )
