"""Latent SVMs: several models of a class, of whose placements in an example the best one counts.

Felzenszwalb, Girshick, McAllester and Ramanan, "Object Detection with Discriminatively Trained Part Based
Models", PAMI 2010, section 4; the penalty is that of the authors' release 5.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from detkit.errors import UserError

Array = NDArray[Any]

_SHARPNESS = 1000.0  # of the soft maximum: it is nearly the largest of the models' norms
_STEPS, _CORRECTIONS = 1000, 20
_USES, _STEPS_AHEAD = 20, 5  # evaluations before the rows that count are chosen anew
_ROUNDING, _SHORTEST = 1e-4, 1e-12
_PROGRESS, _PULL = 1e-6, 1e-6  # the search ends when a step gains less, or nothing pulls harder


class Value(NamedTuple):
    """Parts of the objective; their sum is made small."""

    positives: float
    negatives: float
    penalty: float

    @property
    def total(self) -> float:
        """Return the sum."""
        return self.positives + self.negatives + self.penalty


@dataclass(frozen=True, eq=False)
class Weights:
    """What is known of a model's weights before they are fitted.

    Attributes:
        start: (D,) float64 weights to begin with.
        penalty: (D,) factors on their squares in the model's norm.
        least: (D,) smallest values they may take.
        fixed: (D,) which of them stay.
    """

    start: Array
    penalty: Array
    least: Array
    fixed: Array


@dataclass(frozen=True, eq=False)
class ModelPlacements:
    """ModelPlacements of a model in examples.

    Attributes:
        features: (N, D) float32.
        examples: (N,) int64 numbers of the examples they are found in.
    """

    features: Array
    examples: Array


class LatentSVM:
    """The objective of a latent SVM with the placements that are known, which is convex.

    It is log(sum over models of exp(1000 norm)) / 1000, where the norm of a model is half the sum of its
    weights' squares, and c times the hinge losses: max(0, 1 - score) of a positive, which has one placement,
    and max(0, 1 + score) of a negative, whose score is that of its best placement in any model. A plain sum
    of the norms would let models with few examples keep their scores low.

    Args:
        placements: those in each of the models.
        positive: (M,) bool which of the examples are of the class.
        c: weight of the losses against the norm; these are summed, not averaged.
        positive_weight: factor on the losses of positives.
    """

    def __init__(
        self,
        placements: Sequence[ModelPlacements],
        positive: Array,
        *,
        c: float,
        positive_weight: float = 1.0,
    ) -> None:
        self._features = [own.features for own in placements]
        self._ends = np.cumsum([len(own.features) for own in placements])
        examples = np.concatenate([own.examples for own in placements])
        self._order = np.argsort(examples, kind="stable")
        found, self._starts, self._counts = np.unique(
            examples[self._order], return_index=True, return_counts=True
        )
        self._negative = [~positive[own.examples] for own in placements]
        self._signs = np.where(positive[found], -1.0, 1.0)
        self._factors = c * np.where(positive[found], positive_weight, 1.0)

    def scores(self, weights: Sequence[Array]) -> list[Array]:
        """Return the (N,) scores of the placements in each model, with its (D,) weights."""
        return [
            (features @ own.astype(np.float32)).astype(np.float64)
            for features, own in zip(self._features, weights, strict=True)
        ]

    def value(self, weights: Sequence[Array], penalties: Sequence[Array]) -> Value:
        """Return the objective with the (D,) weights of each model."""
        losses, _ = self._losses(self.scores(weights))
        positive = self._signs < 0
        return Value(
            float(losses[positive].sum()), float(losses[~positive].sum()), soft_maximum(weights, penalties)[0]
        )

    def fit(self, models: Sequence[Weights]) -> list[Array]:
        """Return the weights of each model that make the objective least.

        Args:
            models: where to begin, and what holds of each.

        Raises:
            UserError: a feature is not finite.
        """
        from scipy.optimize import Bounds, minimize

        if not all(np.isfinite(features.sum()) for features in self._features):
            raise UserError("latent SVM: a feature is infinite or not a number")
        ends = np.cumsum([len(model.start) for model in models])[:-1]
        penalties = [model.penalty for model in models]

        rows = [
            _LiveRows(features, negative)
            for features, negative in zip(self._features, self._negative, strict=True)
        ]

        def objective(joined: Array) -> tuple[float, Array]:
            weights = np.split(joined, ends)
            losses, slopes = self._losses([live.scores(own) for live, own in zip(rows, weights, strict=True)])
            norm, gradients = soft_maximum(weights, penalties)
            pulls = [live.pulled(own) for live, own in zip(rows, slopes, strict=True)]
            return float(losses.sum()) + norm, np.concatenate(gradients) + np.concatenate(pulls)

        start = np.concatenate([np.maximum(model.start, model.least) for model in models])
        least = np.concatenate([np.where(model.fixed, model.start, model.least) for model in models])
        most = np.concatenate([np.where(model.fixed, model.start, np.inf) for model in models])
        found = minimize(
            objective,
            start,
            jac=True,
            method="L-BFGS-B",
            bounds=Bounds(least, most),
            options={"maxiter": _STEPS, "maxcor": _CORRECTIONS, "ftol": _PROGRESS, "gtol": _PULL},
        )
        return np.split(found.x, ends)

    def _losses(self, of_models: Sequence[Array]) -> tuple[Array, list[Array]]:
        """Return the (M,) losses of examples by the scores of placements, and the (N,) slopes by these."""
        scores = np.concatenate(of_models)[self._order]
        best = np.maximum.reduceat(scores, self._starts) if len(scores) else scores
        hinges = np.maximum(0, 1 + self._signs * best)
        places = np.where(scores == best.repeat(self._counts), np.arange(len(scores)), len(scores))
        first = np.minimum.reduceat(places, self._starts) if len(scores) else places
        slopes = np.zeros(len(scores))
        slopes[self._order[first]] = np.where(hinges > 0, self._signs * self._factors, 0)
        return self._factors * hinges, np.split(slopes, self._ends[:-1])


class _LiveRows:
    """ModelPlacements of a model in a search for weights, of which most negatives are far from any loss.

    A score changes by no more than the weights move, times the length of the features: so rows that cannot
    reach -1 yet are left out until the weights have moved so far.

    Args:
        features: (N, D) float32.
        negative: (N,) bool.
    """

    def __init__(self, features: Array, negative: Array) -> None:
        self._features, self._negative = features, negative
        self._lengths = np.sqrt(np.einsum("nd,nd->n", features, features, dtype=np.float64)) + _SHORTEST
        self._from: Array | None = None  # weights that the live rows were chosen for
        self._last: Array | None = None
        self._reach, self._farthest, self._uses = 0.0, 0.0, 0
        self._live, self._rows = np.arange(len(features)), features

    def scores(self, weights: Array) -> Array:
        """Return (N,) scores with (D,) weights; -inf of rows that are below -1 for certain."""
        plane = weights.astype(np.float32)
        moved = np.inf if self._from is None else float(np.linalg.norm(plane - self._from))
        step = 0.0 if self._last is None else float(np.linalg.norm(plane - self._last))
        self._last = plane
        if moved >= self._reach or self._uses == _USES:
            return self._choose(plane, step)
        self._farthest, self._uses = max(self._farthest, moved), self._uses + 1
        scores = np.full(len(self._features), -np.inf)
        scores[self._live] = self._rows @ plane
        return scores

    def _choose(self, plane: Array, step: float) -> Array:
        scores = (self._features @ plane).astype(np.float64)
        room = np.where(self._negative, (-1 - scores) / self._lengths, -np.inf)
        # As far as the weights moved lately; as half of the rows allow, where they moved too far for that.
        slow, half = self._uses == _USES, float(np.median(room)) if len(room) else 0.0
        self._reach = 2 * self._farthest if slow else max(half, _STEPS_AHEAD * step)
        self._live = np.flatnonzero(room < self._reach * (1 + _ROUNDING) + _ROUNDING)
        self._rows = self._features[self._live] if len(self._live) < len(room) else self._features
        self._from, self._farthest, self._uses = plane, 0.0, 0
        return scores

    def pulled(self, slopes: Array) -> Array:
        """Return the (D,) sum of the rows times (N,) slopes, which are 0 but for live rows."""
        own = slopes[self._live]
        active = np.flatnonzero(own)
        pulled: Array = own[active].astype(np.float32) @ self._rows[active]
        return pulled


def soft_maximum(weights: Sequence[Array], penalties: Sequence[Array]) -> tuple[float, list[Array]]:
    """Return nearly the largest norm of several models, and its gradient for each.

    Args:
        weights: (D,) of each model.
        penalties: (D,) factors on their squares.

    Example:
        >>> value, [one, two] = soft_maximum([np.array([2.0]), np.array([1.0])], [np.ones(1), np.ones(1)])
        >>> value, one.tolist(), two.tolist()
        (2.0, [2.0], [0.0])
    """
    pulls = [own * penalty for own, penalty in zip(weights, penalties, strict=True)]
    norms = np.array([0.5 * float(own @ pull) for own, pull in zip(weights, pulls, strict=True)])
    shares = np.exp(_SHARPNESS * (norms - norms.max()))
    value = float(norms.max() + np.log(shares.sum()) / _SHARPNESS)
    shares /= shares.sum()
    return value, [share * pull for share, pull in zip(shares, pulls, strict=True)]
