"""Nearest neighbours of codes, and what they say: labels that disagree with them, and near duplicates."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detkit.data.near_duplicates import SIMILAR, difference

NUM_NEIGHBOURS = 10
SUSPICIOUS = 0.5
"""Disagreement from which on a label is suspect: by so much another class has more votes than its own."""
FEWEST = 4
"""Of a class with fewer objects none is suspect: others outvote whatever is right."""
SAME_CODE = 0.1
"""Cosine distance up to which two objects may be near duplicates; their pixels decide."""

_PRODUCTS = 1 << 24  # that are in memory at a time


@dataclass(frozen=True)
class Neighbours:
    """The nearest others of each of N codes, nearest first; k + 1 of them, fewer where there are no more.

    Attributes:
        rows: (N, k + 1) int64.
        distances: (N, k + 1) float32 Euclidean between codes of length 1; infinite where there is none.
    """

    rows: NDArray[np.int64]
    distances: NDArray[np.float32]

    @property
    def weights(self) -> NDArray[np.float32]:
        """The (N, k) weights of the votes, from 1 of the nearest to 0 where the neighbour behind the last is.

        Reference: Dudani, The distance-weighted k-nearest-neighbor rule, IEEE Trans. SMC 6(4), 1976.
        """
        there = np.isfinite(self.distances)
        last = np.where(there, self.distances, 0).max(axis=1, initial=0)[:, None]
        spread = last - self.distances[:, :1]
        with np.errstate(invalid="ignore", divide="ignore"):
            weights = np.where(spread > 0, (last - self.distances) / spread, 1)
        return np.where(there, weights, 0)[:, :-1].astype(np.float32)


def nearest_neighbours(
    vectors: NDArray[np.float32], groups: NDArray[np.int64] | None = None, num: int = NUM_NEIGHBOURS
) -> Neighbours:
    """Return the neighbours of each vector by the cosine.

    Args:
        vectors: (N, D), finite.
        groups: (N,) those of one group are no neighbours of each other; None is each its own.
        num: k.
    """
    count = len(vectors)
    groups = np.arange(count) if groups is None else groups
    codes = normalised(vectors)
    kept = min(num + 1, max(count - 1, 0))
    rows = np.zeros((count, kept), dtype=np.int64)
    cosines = np.zeros((count, kept), dtype=np.float32)
    step = max(1, _PRODUCTS // max(count, 1))
    for start in range(0, count if kept else 0, step):
        block = slice(start, start + step)
        alike = codes[block] @ codes.T
        alike[groups[block, None] == groups] = -np.inf
        best = np.argpartition(-alike, kept - 1, axis=1)[:, :kept]
        order = np.argsort(-np.take_along_axis(alike, best, axis=1), axis=1, kind="stable")
        rows[block] = np.take_along_axis(best, order, axis=1)
        cosines[block] = np.take_along_axis(alike, rows[block], axis=1)
    return Neighbours(rows, np.sqrt(np.maximum(2 - 2 * cosines, 0)))


def normalised(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return (N, D) vectors of length 1; one of zeros stays.

    Example:
        >>> normalised(np.array([[3.0, 4.0], [0.0, 0.0]], np.float32)).tolist()
        [[0.6000000238418579, 0.800000011920929], [0.0, 0.0]]
    """
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.where(lengths > 0, lengths, 1), dtype=np.float32)


def votes(labels: NDArray[np.int64], near: Neighbours, num_classes: int) -> NDArray[np.float64]:
    """Return the (N, K) shares of the classes in the weighted votes of each one's neighbours.

    Args:
        labels: (N,) classes; a negative one is of none.
        near: the neighbours of each.
        num_classes: K.
    """
    weights, voters = near.weights, labels[near.rows[:, :-1]]
    shares = np.zeros((len(labels), num_classes))
    for label in range(num_classes):
        shares[:, label] = (weights * (voters == label)).sum(axis=1)
    return np.asarray(shares / np.maximum(weights.sum(axis=1, keepdims=True), 1e-12))


def disagreement(
    labels: NDArray[np.int64], shares: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return by how much the neighbours of each disagree with its label, and the class that they vote for.

    It is the share of the most frequent other class, less that of the own: 1 where all neighbours agree on
    another class, 0 or less where they are divided, -1 where they agree with the label, which is also what an
    object of no class has, and one of a class with fewer than `FEWEST`.

    Args:
        labels: (N,) classes; a negative one is of none.
        shares: (N, K) from `votes`.

    Example:
        >>> shares = np.array([[0.1, 0.9, 0.0]] * 4)
        >>> score, suggested = disagreement(np.zeros(4, np.int64), shares)
        >>> score.round(2).tolist(), suggested.tolist()
        ([0.8, 0.8, 0.8, 0.8], [1, 1, 1, 1])
    """
    if not len(labels) or shares.shape[1] < 2:
        return np.full(len(labels), -1.0), labels.copy()
    places = np.arange(len(labels))
    own, others = shares[places, labels], shares.copy()
    others[places, labels] = -1
    suggested = others.argmax(axis=1)
    score = others[places, suggested] - own
    counts = np.bincount(labels[labels >= 0], minlength=shares.shape[1])
    judged = (labels >= 0) & (counts[labels] >= FEWEST)
    return np.where(judged, score, -1.0), suggested


def suspects(scores: NDArray[np.float64], least: float = SUSPICIOUS) -> NDArray[np.int64]:
    """Return the places of the labels that are suspect, worst first, by their (N,) disagreement."""
    order = np.argsort(-scores, kind="stable")
    return order[scores[order] > least]


def duplicates(
    near: Neighbours, images: NDArray[np.int64], thumbnails: NDArray[np.uint8]
) -> list[tuple[int, int, float]]:
    """Return pairs of near duplicates in different images, and their cosine distance, nearest first.

    Codes of a trained network hardly differ within a class, so that near codes only find candidates; the
    objects' pixels decide, by the rule for images (`detkit.data.near_duplicates`).

    Args:
        near: the neighbours of each.
        images: (N,) image of each.
        thumbnails: (N, S, S) uint8 grey pixels of each.
    """
    cosine = near.distances.astype(np.float64) ** 2 / 2
    pairs = {
        (min(one, int(other)), max(one, int(other))): float(far)
        for one, (others, distances) in enumerate(zip(near.rows, cosine, strict=True))
        for other, far in zip(others, distances, strict=True)
        if far <= SAME_CODE and images[one] != images[other]
    }
    alike = [
        (one, other, far)
        for (one, other), far in pairs.items()
        if difference(thumbnails[one], thumbnails[other]) <= SIMILAR
    ]
    return sorted(alike, key=lambda pair: (pair[2], pair[:2]))
