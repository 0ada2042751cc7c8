"""Mining of hard negatives for linear SVMs, without ever holding all boxes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from detkit.errors import UserError
from detkit.training.staged.linear_svm import LinearSVM, train_svm
from detkit.training.staged.negative_cache import NegativeCache

Floats = NDArray[np.float32]


class Candidates(Protocol):
    """The boxes of one image that may be negatives."""

    @property
    def keys(self) -> NDArray[np.int64]:
        """(N,) numbers that tell them apart, the same whenever the image is read."""
        ...

    @property
    def negative(self) -> NDArray[np.bool_]:
        """(N, K) of which classes each is a negative."""
        ...

    def scores(self, weights: Floats, bias: Floats) -> Floats:
        """Return (N, K) margins by K planes: (K, D) weights and (K,) biases."""
        ...

    def features(self, rows: NDArray[np.intp]) -> Floats:
        """Return the (n, D) features of some of the boxes."""
        ...


class ExampleSource(Protocol):
    """Where examples come from, image by image."""

    @property
    def num_images(self) -> int:
        """How many images there are."""
        ...

    @property
    def num_features(self) -> int:
        """Length of a box's features."""
        ...

    def positives(self, image: int) -> tuple[Floats, NDArray[np.int64]]:
        """Return (P, D) features of an image's positives, and their (P,) classes."""
        ...

    def candidates(self, image: int) -> Candidates:
        """Return the boxes that may be negatives."""
        ...


@dataclass(frozen=True, eq=False)
class FeatureRows:
    """Candidates whose features are all at hand.

    Attributes:
        rows: (N, D) features.
        keys: (N,) int64.
        negative: (N, K) bool.
    """

    rows: Floats
    keys: NDArray[np.int64]
    negative: NDArray[np.bool_]

    def scores(self, weights: Floats, bias: Floats) -> Floats:
        """Return (N, K) margins by K planes."""
        margins: Floats = self.rows @ weights.T + bias
        return margins

    def features(self, rows: NDArray[np.intp]) -> Floats:
        """Return the (n, D) features of some of the boxes."""
        taken: Floats = self.rows[rows]
        return taken


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
        passes: how often the images are gone through.
        drop_duplicates: of boxes of an image with the same features only the first is taken (SPP-net,
            where many boxes lie on the same cells).
    """

    c: float
    positive_weight: float
    bias_multiplier: float
    hard_above: float
    evict_below: float
    retrain_after: int
    passes: int = 1
    drop_duplicates: bool = False


@dataclass
class MiningState:
    """How far mining came; all of it is needed to go on.

    Attributes:
        cache: the hard negatives.
        weights: (K, D) planes.
        bias: (K,) their biases.
        trained: (K,) bool whether a class has been fitted at all.
        added: (K,) hard negatives since a class was fitted last.
        done: images gone through, over all passes.
        rounds: how often a class was fitted, over all classes.
    """

    cache: NegativeCache
    weights: Floats
    bias: Floats
    trained: NDArray[np.bool_]
    added: NDArray[np.int64]
    done: int = 0
    rounds: int = 0

    @staticmethod
    def begin(num_features: int, num_classes: int) -> MiningState:
        """Return the state before the first image."""
        return MiningState(
            NegativeCache(num_features, num_classes),
            np.zeros((num_classes, num_features), np.float32),
            np.zeros(num_classes, np.float32),
            np.zeros(num_classes, np.bool_),
            np.zeros(num_classes, np.int64),
        )


def mine(
    source: ExampleSource,
    classes: Sequence[str],
    how: Mining,
    *,
    own: Sequence[int] | None = None,
    state: MiningState | None = None,
    on_image: Callable[[MiningState], Any] = lambda state: None,
) -> MiningState:
    """Learn one SVM for each class by going through the images once, as R-CNN does.

    All positives are taken first. The first image with negatives of a class adds all of these, and the
    class is fitted; from then on boxes are added that its plane scores too high, and every so often, and
    at the end, it is fitted anew from scratch and forgets the negatives that became easy. The planes of
    a class without positives stay 0.

    Args:
        source: the examples.
        classes: K names, for messages.
        how: thresholds and the SVM.
        own: the classes to learn here, when processes share them; None learns all.
        state: where to go on, of the same source and settings.
        on_image: called after each image, for progress and saving.

    Returns:
        The state at the end, with the planes.

    Raises:
        UserError: a class has no negatives, or a feature is not finite.

    Reference: Girshick et al., CVPR 2014, section 2.3; Felzenszwalb et al., PAMI 2010 (the mining).
    """
    positives = _positives(source, len(classes))
    mined = range(len(classes)) if own is None else own
    fitted = [label for label in mined if len(positives[label])]
    state = state or MiningState.begin(source.num_features, len(classes))
    total = source.num_images * how.passes
    while state.done < total:
        image = state.done % source.num_images
        _add_hard(state, image, source.candidates(image), fitted, how)
        state.done += 1
        for label in fitted:
            last = state.done == total
            if last or state.added[label] > (how.retrain_after if state.trained[label] else 0):
                _learn(state, label, positives[label], classes[label], how)
        on_image(state)
    return state


def _positives(source: ExampleSource, num_classes: int) -> list[Floats]:
    nothing = np.zeros((0, source.num_features), np.float32)
    found: list[list[Floats]] = [[nothing] for _ in range(num_classes)]
    for image in range(source.num_images):
        features, labels = source.positives(image)
        for label in np.unique(labels).tolist():
            found[label].append(features[labels == label])
    return [np.concatenate(parts) for parts in found]


def _add_hard(state: MiningState, image: int, boxes: Candidates, fitted: Sequence[int], how: Mining) -> None:
    wanted = np.zeros_like(boxes.negative)
    wanted[:, fitted] = boxes.negative[:, fitted]
    if not wanted.any():
        return
    # The plane of a class that was not fitted yet is 0, and so are the scores: all its negatives are hard.
    wanted &= boxes.scores(state.weights, state.bias) > how.hard_above
    if how.passes > 1:
        wanted &= ~state.cache.known(image, boxes.keys)
    rows = np.flatnonzero(wanted.any(axis=1))
    features, of = boxes.features(rows), wanted[rows]
    if how.drop_duplicates:
        first = _first_alike(features)
        np.logical_or.at(of, first, of.copy())
        unique = np.unique(first)
        rows, features, of = rows[unique], features[unique], of[unique]
    state.cache.add(image, boxes.keys[rows], features, of)
    state.added += of.sum(axis=0)


def _first_alike(features: Floats) -> NDArray[np.intp]:
    """Return for each row the first one that is equal to it."""
    seen: dict[bytes, int] = {}
    return np.array([seen.setdefault(row.tobytes(), i) for i, row in enumerate(features)], np.intp)


def _learn(state: MiningState, label: int, positives: Floats, name: str, how: Mining) -> None:
    rows = state.cache.rows(label)
    negatives = state.cache.features(rows)
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
    state.rounds += 1
    state.cache.remove(rows[svm.scores(negatives) < how.evict_below], label)


def planes(state: MiningState) -> list[LinearSVM | None]:
    """Return the plane of each class; None of one that was not fitted."""
    return [
        LinearSVM(state.weights[label].astype(np.float64), float(state.bias[label])) if trained else None
        for label, trained in enumerate(state.trained.tolist())
    ]
