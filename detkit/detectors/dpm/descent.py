"""The training of star models: objects are found anew, negatives mined, and weights fitted, in turns.

Coordinate descent as in Felzenszwalb et al., PAMI 2010, section 4, with the limits of the authors' release 5.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detkit.detectors.dpm.examples import ClassImages, Negatives, PlacedObject
from detkit.detectors.dpm.weights import StarWeights
from detkit.runtime.progress import ProgressLine
from detkit.training.staged.latent_svm import LatentSVM, ModelPlacements, Value

Array = NDArray[Any]

_PULLS = -1e-4  # a negative that scores so much above -1 is a support vector
_CONVERGED = 1.05  # of the objective with new negatives to that of the known ones
_ROWS = 1024  # that move together
_SETTLED = 0.999  # of the objects' losses after they were found anew to those before


@dataclass(frozen=True)
class Rounds:
    """How long star models are trained.

    Attributes:
        find_objects: how often objects are found anew.
        mine: how often negatives are mined in between, at most.
    """

    find_objects: int
    mine: int


@dataclass(frozen=True)
class FitLimits:
    """What the fits are like, and how much they keep.

    Attributes:
        c: weight of the losses against the norm.
        positive_weight: factor on the losses of objects.
        negatives: most negatives that are kept, or ten for each object, if that is more.
        megabytes: most memory of the features.
    """

    c: float
    positive_weight: float
    negatives: int
    megabytes: int


class StarNegatives:
    """The negatives of a star model that are kept, each once.

    Args:
        features: (N, D) float32 of the first ones.
        examples: (N,) int64 numbers of their examples. Both are taken over, and grow in place.
    """

    def __init__(self, features: NDArray[np.float32], examples: NDArray[np.int64]) -> None:
        self._features, self._examples, self._size = features, examples, len(features)
        self._known = {_digest(row) for row in features}

    @staticmethod
    def none(width: int) -> StarNegatives:
        """Return no negatives of a model of so many weights."""
        return StarNegatives(np.empty((0, width), np.float32), np.empty(0, np.int64))

    def __len__(self) -> int:
        return self._size

    @property
    def features(self) -> NDArray[np.float32]:
        """(N, D)."""
        return self._features[: self._size]

    @property
    def examples(self) -> NDArray[np.int64]:
        """(N,)."""
        return self._examples[: self._size]

    def add(self, features: NDArray[np.float32], examples: NDArray[np.int64]) -> None:
        """Add those that are new."""
        new = []
        for place, row in enumerate(features):
            digest = _digest(row)
            if digest not in self._known:
                self._known.add(digest)
                new.append(place)
        start, end = self._size, self._size + len(new)
        if end > len(self._examples):
            room = max(end, len(self._examples) * 3 // 2)
            # In place where the system can: a copy would take twice the memory at the worst moment.
            self._features.resize((room, features.shape[1]), refcheck=False)
            self._examples.resize(room, refcheck=False)
        self._features[start:end], self._examples[start:end] = features[new], examples[new]
        self._size = end

    def keep(self, which: NDArray[np.bool_]) -> None:
        """Forget all others."""
        kept = np.flatnonzero(which)
        for start in range(0, len(kept), _ROWS):  # none moves behind where it was
            block = kept[start : start + _ROWS]
            self._features[start : start + len(block)] = self._features[block]
            self._examples[start : start + len(block)] = self._examples[block]
        self._size = len(kept)
        self._known = {_digest(row) for row in self.features}


def _digest(row: Array) -> bytes:
    return hashlib.blake2b(np.ascontiguousarray(row).data, digest_size=8).digest()


@dataclass
class Descent:
    """Star models of a class in training, and all that is needed to go on.

    Attributes:
        stars: the models as they are now.
        negatives: those that are kept, of each model.
        done: rounds that are over.
        next_image: place in the list of images that mining goes on with.
        loss: of the objects where they were found last, with the models as they are now.
        settled: whether finding the objects anew changes nothing any more.
    """

    stars: list[StarWeights]
    negatives: list[StarNegatives]
    done: int = 0
    next_image: int = 0
    loss: float = np.inf
    settled: bool = False

    @staticmethod
    def begin(stars: Sequence[StarWeights]) -> Descent:
        """Return the state before the first round."""
        return Descent(list(stars), [StarNegatives.none(len(star.values)) for star in stars])

    def fit(self, positives: Sequence[PlacedObject], limits: FitLimits) -> Value:
        """Fit the weights to the objects and the negatives that are kept; return the objective."""
        svm = self._svm(positives, limits)
        models = [star.trainable() for star in self.stars]
        fitted = svm.fit(models)
        self.stars = [star.with_values(own) for star, own in zip(self.stars, fitted, strict=True)]
        scores = self._scores_of(positives)
        self.loss = float(limits.c * limits.positive_weight * np.maximum(0, 1 - scores).sum())
        return svm.value(fitted, [model.penalty for model in models])

    def _svm(self, positives: Sequence[PlacedObject], limits: FitLimits) -> LatentSVM:
        """Return the objective: examples are the objects, and then the negatives' places."""
        places = np.unique(np.concatenate([own.examples for own in self.negatives]))
        placements = []
        for number, own in enumerate(self.negatives):
            chosen = [place for place, positive in enumerate(positives) if positive.star == number]
            features = np.concatenate([_stacked(positives, chosen, own.features.shape[1]), own.features])
            examples = np.searchsorted(places, own.examples) + len(positives)
            placements.append(
                ModelPlacements(features, np.concatenate([np.array(chosen, np.int64), examples]))
            )
        positive = np.arange(len(positives) + len(places)) < len(positives)
        return LatentSVM(placements, positive, c=limits.c, positive_weight=limits.positive_weight)

    def _scores_of(self, positives: Sequence[PlacedObject]) -> Array:
        return np.array([float(own.features @ self.stars[own.star].values) for own in positives])

    def forget_easy(self, positives: Sequence[PlacedObject], limits: FitLimits) -> None:
        """Forget negatives so that half of the room is free, the easiest first, but no support vector."""
        scores = [
            own.features @ star.values.astype(np.float32)
            for own, star in zip(self.negatives, self.stars, strict=True)
        ]
        together = np.concatenate(scores)
        models = np.concatenate([np.full(len(own), number) for number, own in enumerate(scores)])
        sizes = np.array([own.features.itemsize * own.features.shape[1] for own in self.negatives])
        order = np.argsort(-together, kind="stable")
        room = self._room(positives, limits)
        kept = int((np.cumsum(sizes[models[order]]) <= room[1] / 2).sum())
        kept = max(min(kept, room[0] // 2), int((together >= -1 + _PULLS).sum()))
        chosen = np.zeros(len(together), np.bool_)
        chosen[order[:kept]] = True
        for own, which in zip(
            self.negatives, np.split(chosen, np.cumsum([len(own) for own in scores])[:-1]), strict=True
        ):
            own.keep(which)

    def _room(self, positives: Sequence[PlacedObject], limits: FitLimits) -> tuple[int, int]:
        """Return how many negatives there is room for, and how many bytes of features."""
        taken = sum(own.features.nbytes for own in positives)
        most = max(limits.negatives, 9 * len(positives))
        return most, max(limits.megabytes * 2**20 - taken, 0)

    def is_full(self, positives: Sequence[PlacedObject], limits: FitLimits) -> bool:
        """Return whether no more negatives are taken."""
        most, most_bytes = self._room(positives, limits)
        held = sum(own.features.nbytes for own in self.negatives)
        return sum(map(len, self.negatives)) >= most or held >= most_bytes

    def add(self, mined: Sequence[Negatives]) -> None:
        """Keep negatives that are new."""
        for own in mined:
            self.negatives[own.star].add(own.features, own.examples)


def _stacked(positives: Sequence[PlacedObject], chosen: Sequence[int], width: int) -> NDArray[np.float32]:
    if not chosen:
        return np.zeros((0, width), np.float32)
    return np.stack([positives[place].features for place in chosen])


def train_round(
    state: Descent,
    images: ClassImages,
    objects: Sequence[int],
    background: Sequence[int],
    rounds: Rounds,
    limits: FitLimits,
    what: str,
) -> None:
    """Find the objects anew, and mine negatives and fit until the known negatives are those that matter.

    Args:
        state: changed in place.
        images: of the class.
        objects: images to find objects in.
        background: images to mine in, gone through in turn.
        rounds: how long.
        limits: of the fits.
        what: name of the work, for progress.
    """
    positives = find_objects(state.stars, images, objects, what)
    state.done += 1
    if not positives:
        state.settled = True
        return
    loss = limits.c * limits.positive_weight * sum(max(0.0, 1 - own.score) for own in positives)
    # A model that finds its objects where they were will not change.
    state.settled = state.done > 1 and loss > _SETTLED * state.loss
    if state.settled:
        return
    value: Value | None = None
    for turn in range(rounds.mine):
        whole, new = mine(state, images, positives, background, limits, what)
        if value is not None and whole:
            converged = value.total - value.negatives + new < _CONVERGED * value.total
            if converged and state.done < rounds.find_objects:
                break
        else:
            converged = False
        value = state.fit(positives, limits)
        if converged or turn == rounds.mine - 1:
            state.forget_easy(positives, limits)
            break
        state.forget_easy(positives, limits)


def find_objects(
    stars: Sequence[StarWeights], images: ClassImages, objects: Sequence[int], what: str
) -> list[PlacedObject]:
    """Return the best placements of the objects of some images."""
    found = list[PlacedObject]()
    with ProgressLine(f"{what}: objects", len(objects)) as progress:
        for done, own in enumerate(images.of_all(objects, lambda image: images.positives(stars, image)), 1):
            found += own
            progress(done)
    return found


def mine(
    state: Descent,
    images: ClassImages,
    positives: Sequence[PlacedObject],
    background: Sequence[int],
    limits: FitLimits,
    what: str,
) -> tuple[bool, float]:
    """Add hard negatives, going on where the last mining stopped, until there is no more room for any.

    Returns:
        Whether all images were gone through, and the loss of what was found, with the models as they are.
    """
    order = [*background[state.next_image :], *background[: state.next_image]]
    losses, done, stars = 0.0, 0, list(state.stars)
    with ProgressLine(f"{what}: negatives", len(order)) as progress:
        for mined in images.of_all(order, lambda image: images.negatives(stars, image)):
            state.add(mined)
            losses += sum(float(np.maximum(0, 1 + own.scores).sum()) for own in mined)
            done += 1
            progress(done)
            if state.is_full(positives, limits):
                break
    state.next_image = (state.next_image + done) % len(order) if order else 0
    return done == len(order), limits.c * losses
