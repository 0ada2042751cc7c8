"""Top-1 and top-5 accuracy of a classifier, as ImageNet's challenge counts them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

TOP = 5


@dataclass(frozen=True)
class Accuracy:
    """Top-1 and top-5 accuracy, overall and by class.

    Attributes:
        top1: share of the N images whose class comes first; NaN without images.
        top5: share of them whose class is among the first five.
        per_class: (K,) top1 over the images of each class; NaN for a class without images.
        per_class_top5: (K,) the same for the first five.
        labels: (N,) int32 class of each image.
        first: (N,) int32 class that came first; -1 where nothing was found.
        scores: (N,) score of `first`; 0 where nothing was found.
    """

    top1: float
    top5: float
    per_class: NDArray[np.float64]
    per_class_top5: NDArray[np.float64]
    labels: NDArray[np.int32]
    first: NDArray[np.int32]
    scores: NDArray[np.float64]

    def confusion(self) -> NDArray[np.int64]:
        """Return the (K, K + 1) number of images by their class and the one that came first, K for none."""
        num_classes = len(self.per_class)
        found = np.where(self.first < 0, num_classes, self.first)
        flat = np.bincount(self.labels * (num_classes + 1) + found, minlength=num_classes * (num_classes + 1))
        return flat.reshape(num_classes, num_classes + 1).astype(np.int64)


def measure_accuracy(
    labels: NDArray[np.int32],
    images: NDArray[np.int64],
    guesses: NDArray[np.int32],
    scores: NDArray[np.float64],
    num_classes: int,
) -> Accuracy:
    """Count how often a classifier names the class of an image.

    Args:
        labels: (N,) class of each image in [0, K).
        images: (D,) image of each guess.
        guesses: (D,) class that it names.
        scores: (D,) its score; of equal scores in an image the one that comes earlier is better.
        num_classes: K.

    Example:
        >>> images, guesses = np.array([0, 0, 1]), np.array([1, 2, 0], np.int32)
        >>> labels, scores = np.array([2, 0], np.int32), np.array([0.6, 0.3, 0.9])
        >>> found = measure_accuracy(labels, images, guesses, scores, 3)
        >>> found.top1, found.top5, found.per_class.tolist()
        (0.5, 1.0, [1.0, nan, 0.0])
        >>> found.confusion().tolist()
        [[1, 0, 0, 0], [0, 0, 0, 0], [0, 1, 0, 0]]
    """
    place = places(images, scores)
    right, best = guesses == labels[images], place == 0
    first, first_scores = np.full(len(labels), -1, np.int32), np.zeros(len(labels))
    first[images[best]], first_scores[images[best]] = guesses[best], scores[best]
    hit1, hit5 = (np.isin(np.arange(len(labels)), images[right & (place < limit)]) for limit in (1, TOP))
    return Accuracy(
        top1=float(hit1.mean()) if len(hit1) else np.nan,
        top5=float(hit5.mean()) if len(hit5) else np.nan,
        per_class=_by_class(labels, hit1, num_classes),
        per_class_top5=_by_class(labels, hit5, num_classes),
        labels=labels,
        first=first,
        scores=first_scores,
    )


def places(images: NDArray[np.int64], scores: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the (D,) place of each guess in its image, 0 for the best; of equal ones the earlier is better.

    Args:
        images: (D,) image of each guess.
        scores: (D,) its score.

    Example:
        >>> places(np.array([0, 1, 0]), np.array([0.2, 0.5, 0.8]))
        array([1, 0, 0])
    """
    order = np.lexsort((np.arange(len(scores)), -scores, images))
    found = np.empty(len(order), np.int64)
    found[order] = np.arange(len(order)) - np.searchsorted(images[order], images[order])
    return found


def _by_class(labels: NDArray[np.int32], hit: NDArray[np.bool_], num_classes: int) -> NDArray[np.float64]:
    counts = np.bincount(labels, minlength=num_classes)
    hits = np.bincount(labels, weights=hit, minlength=num_classes)
    return np.asarray(np.where(counts > 0, hits / np.maximum(counts, 1), np.nan))
