"""Linear SVMs, one class against the rest, and the mining of hard negatives that they are fitted to."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from detkit.errors import UserError
from detkit.training.staged.mining_state import MiningState

Floats = NDArray[np.float32]

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


class ExampleSource(Protocol):
    """Where examples come from, image by image."""

    def __len__(self) -> int: ...

    def positives(self, image: int) -> tuple[Floats, NDArray[np.int64]]:
        """Return (P, D) features of an image's positives, and their (P,) classes."""
        ...

    def candidates(self, image: int) -> tuple[Floats, NDArray[np.bool_]]:
        """Return (N, D) features of an image's boxes, and (N, K) of which classes each is a negative."""
        ...


@dataclass(frozen=True)
class Mining:
    """How hard negatives are found, and SVMs fitted of them.

    Attributes:
        c: 0.001 in R-CNN; this and the next two are those of `train_svm`.
        positive_weight: 2 in R-CNN.
        bias_multiplier: 10 in R-CNN.
        hard_above: boxes with a higher score are hard (-1.0001 in R-CNN); below 0.
        evict_below: hard negatives with a lower score, after a class was fitted anew, are forgotten (-1.2).
        retrain_after: a class is fitted anew once more than so many were added (2000).
        drop_duplicates: of boxes of an image with the same features only the first is taken (SPP-net,
            where many boxes lie on the same cells).
        drop_known: boxes with the features of a negative of the class that is kept are not taken again, where
            images are gone through more than once.
    """

    c: float
    positive_weight: float
    bias_multiplier: float
    hard_above: float
    evict_below: float
    retrain_after: int
    drop_duplicates: bool = False
    drop_known: bool = False


def mine(
    source: ExampleSource,
    state: MiningState,
    classes: Sequence[str],
    how: Mining,
    *,
    own: Sequence[int],
    on_image: Callable[[], None] = lambda: None,
) -> None:
    """Learn one SVM for each class by going through the images once, as R-CNN does.

    All positives are taken first. The first image with negatives of a class adds all of these, and the
    class is fitted; from then on boxes are added that its plane scores too high, and every so often, and
    at the end, it is fitted anew from scratch and forgets the negatives that became easy. The planes of
    a class without positives stay 0.

    Args:
        source: the examples.
        state: where to begin, or to go on with the same source and settings; holds the planes at the end.
        classes: K names, for messages.
        how: thresholds and the SVM.
        own: the classes to learn here, when processes share them.
        on_image: called after each image, for progress and saving.

    Raises:
        UserError: a class has no negatives, or a feature is not finite.

    Reference: Girshick et al., CVPR 2014, section 2.3; Felzenszwalb et al., PAMI 2010 (the mining).
    """
    positives = _positives(source, state)
    fitted = [label for label in own if len(positives[label])]
    for image in range(state.done, len(source)):
        features, negative = source.candidates(image)
        _add_hard(state, features, negative, fitted, how)
        state.done += 1
        for label in fitted:
            last = state.done == len(source)
            if last or state.added[label] > (how.retrain_after if state.trained[label] else 0):
                _learn(state, label, positives[label], classes[label], how)
        on_image()


def _positives(source: ExampleSource, state: MiningState) -> list[Floats]:
    nothing = np.zeros((0, state.weights.shape[1]), np.float32)
    found = [[nothing] for _ in state.weights]
    for image in range(len(source)):
        features, labels = source.positives(image)
        for label in np.unique(labels).tolist():
            found[label].append(features[labels == label])
    return [np.concatenate(parts) for parts in found]


def _add_hard(
    state: MiningState, features: Floats, negative: NDArray[np.bool_], fitted: Sequence[int], how: Mining
) -> None:
    wanted = np.zeros_like(negative)
    wanted[:, fitted] = negative[:, fitted]
    if not wanted.any():
        return
    # The plane of a class that was not fitted yet is 0, and so are the scores: all its negatives are hard.
    wanted &= features @ state.weights.T + state.bias > how.hard_above
    rows = np.flatnonzero(wanted.any(axis=1))
    features, of = features[rows], wanted[rows]
    if how.drop_duplicates:
        first = _first_alike(features)
        np.logical_or.at(of, first, of.copy())
        unique = np.unique(first)
        features, of = features[unique], of[unique]
    if how.drop_known:
        of &= ~state.cache.holds(features)
        features, of = features[of.any(axis=1)], of[of.any(axis=1)]
    state.cache.add(features, of)
    state.added += of.sum(axis=0)


def _first_alike(features: Floats) -> NDArray[np.intp]:
    """Return for each row the first one that is equal to it."""
    seen: dict[bytes, int] = {}
    return np.array([seen.setdefault(row.tobytes(), i) for i, row in enumerate(features)], np.intp)


def _learn(state: MiningState, label: int, positives: Floats, name: str, how: Mining) -> None:
    rows, negatives = state.cache.negatives(label)
    if not len(negatives):
        raise UserError(
            f"SVM of {name}: no box of the training images is a negative of this class; the proposals "
            "must reach beyond the objects"
        )
    svm = train_svm(
        np.concatenate([positives, negatives]),
        np.arange(len(positives) + len(negatives)) < len(positives),
        c=how.c,
        positive_weight=how.positive_weight,
        bias_multiplier=how.bias_multiplier,
    )
    state.weights[label], state.bias[label] = svm.weights, svm.bias
    state.trained[label], state.added[label] = True, 0
    state.cache.remove(rows[svm.scores(negatives) < how.evict_below], label)
