"""Linear support vector machine for one class against the rest."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detkit.errors import UserError

# liblinear ends when no example pulls harder than this, which leaves about 1e-6 of the objective, or after
# so many passes over them.
_PULL, _PASSES = 3e-6, 10_000


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
) -> LinearSVM:
    """Return the hyperplane with the least 0.5 (|w|² + (b / B)²) + c Σ weight · max(0, 1 - margin).

    It is always found from scratch. B is the bias multiplier, so the bias is regularised, too; the margin is
    the score, negated for negatives. Sums, not means: more examples count more against the norm.

    R-CNN takes c = 0.001, a positive weight of 2 and a bias multiplier of 10 on features whose mean norm
    is 20. liblinear (dual coordinate descent) works on one processor core and on a float64 copy of the
    features.

    Args:
        features: (N, D).
        positive: (N,) which are of the class.
        c: weight of the hinge losses, which are summed, against the norm of the plane.
        positive_weight: factor on the hinge losses of positives.
        bias_multiplier: constant appended to the features; large values let the bias grow at less cost.

    Raises:
        UserError: all examples are of one kind, or a feature is not finite.

    Warns:
        UserWarning: the solver stopped before it was done.

    Reference: Fan, Chang, Hsieh, Wang & Lin, LIBLINEAR, JMLR 2008; Girshick et al., CVPR 2014, section 2.3.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.svm import LinearSVC

    _check(features, positive)
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
        if issubclass(warning.category, ConvergenceWarning):
            _tell_unfinished(features, c)
        else:
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
    return LinearSVM(machine.coef_[0], float(machine.intercept_[0]))


def _check(features: NDArray[np.floating[Any]], positive: NDArray[np.bool_]) -> None:
    count = int(positive.sum())
    if count in (0, len(positive)):
        raise UserError(
            f"SVM: needs examples of both kinds; got {count} positive and {len(positive) - count} negative"
        )
    if not np.isfinite(features).all():
        raise UserError("SVM: a feature is infinite or not a number; check the weights of the network")


def _tell_unfinished(features: NDArray[np.floating[Any]], c: float) -> None:
    norm = np.linalg.norm(features[:200], axis=1).mean()
    warnings.warn(
        f"SVM: not at its best: liblinear ended after {_PASSES} passes over the examples "
        f"(N = {len(features)}, c = {c:g}, mean norm of features {norm:.3g}). "
        "Its scores are usable, but another machine may give others; a smaller c, or features "
        "scaled to a mean norm of 20, are fitted sooner",
        stacklevel=3,
    )
