"""Context: detections are scored anew by where they are and by what else was found in the image.

Felzenszwalb et al., PAMI 2010, section 7.3; constants of the authors' release 5.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

_LEAST = -1.1  # score of a class of which nothing was found
_SLOPE = 1.5  # of the logistic function that scores go through
_DEGREE, _C, _POSITIVE_WEIGHT, _TOLERANCE = 3, 1.0, 2.0, 1e-3
_MOST = 50_000  # detections of a class that are learned from, the best
_SAME_IOU = 0.5


def context_of(scores: Sequence[Array], boxes: Sequence[Array], size: tuple[int, int]) -> list[Array]:
    """Return the (N, 5 + K) description of the detections of each of K classes in an image.

    It is a detection's own score, its box as a share of the image, and the best score of each class; scores
    go through a logistic function.

    Args:
        scores: (N,) of each class's detections.
        boxes: (N, 4) in pixels.
        size: (height, width) of the image in pixels.

    Example:
        >>> [one] = context_of([np.array([0.0])], [np.array([[0.0, 5, 10, 10]])], (10, 20))
        >>> one.tolist()
        [[0.5, 0.0, 0.5, 0.5, 1.0, 0.5]]
    """
    height, width = size
    best = _squeezed(np.array([max([_LEAST, *own.tolist()]) for own in scores]))
    return [
        np.concatenate(
            [
                _squeezed(own)[:, None],
                own_boxes / (width, height, width, height),
                np.tile(best, (len(own), 1)),
            ],
            axis=1,
        )
        for own, own_boxes in zip(scores, boxes, strict=True)
    ]


def _squeezed(scores: Array) -> Array:
    squeezed: Array = 1 / (1 + np.exp(-_SLOPE * scores))
    return squeezed


def fit_context(inputs: Array, scores: Array, found: NDArray[np.int8]) -> NDArray[np.float64] | None:
    """Return the (D + 1, D + 1, D + 1) coefficients of a cubic that tells objects of a class from others.

    It is a support vector machine with the kernel (1 + u . v) ** 3, whose sum over the support vectors is
    written out.

    Args:
        inputs: (N, D) of `context_of`.
        scores: (N,) of the detections; of more than 50,000 the best are learned from.
        found: (N,) 1 for objects, -1 for others, 0 for what does not count.

    Returns:
        None where there are not both.
    """
    from sklearn.svm import SVC

    kept = np.argsort(-scores, kind="stable")[:_MOST]
    kept = np.sort(kept[found[kept] != 0])
    inputs, found = inputs[kept], found[kept]
    if len(np.unique(found)) < 2:
        return None
    machine = SVC(
        C=_C,
        kernel="poly",
        degree=_DEGREE,
        gamma=1.0,
        coef0=1.0,
        class_weight={1: _POSITIVE_WEIGHT},
        tol=_TOLERANCE,
    )
    machine.fit(inputs, found)
    vectors = _with_one(machine.support_vectors_)
    cubic = np.einsum("n,ni,nj,nk->ijk", machine.dual_coef_[0], vectors, vectors, vectors, optimize=True)
    cubic[-1, -1, -1] += machine.intercept_[0]
    return np.asarray(cubic, np.float64)


def order_kept(num_inputs: int) -> NDArray[np.float64]:
    """Return the coefficients of what leaves a class's detections in their order: their squeezed score."""
    cubic = np.zeros((num_inputs + 1,) * 3)
    cubic[0, -1, -1] = 1
    return cubic


def rescored(inputs: Array, cubic: Array) -> NDArray[np.float64]:
    """Return the (N,) scores of detections in their context.

    Args:
        inputs: (N, D) of `context_of`.
        cubic: (D + 1, D + 1, D + 1) of `fit_context`.
    """
    vectors = _with_one(inputs)
    scores: NDArray[np.float64] = np.einsum(
        "ni,nj,nk,ijk->n", vectors, vectors, vectors, cubic, optimize=True
    )
    return scores


def _with_one(inputs: Array) -> Array:
    return np.concatenate([inputs, np.ones((len(inputs), 1))], axis=1)


def found_objects(scores: Array, ious: Array, difficult: Array) -> NDArray[np.int8]:
    """Return of the N detections of a class in an image which are objects: 1, or -1.

    Each is compared with the object it overlaps most. The best detection of an object is one, the others are
    not; all those of a difficult object are.

    Args:
        scores: (N,).
        ious: (N, M) overlaps with the class's objects.
        difficult: (M,) bool.
    """
    found, taken = np.full(len(scores), -1, np.int8), set[int]()
    if not ious.shape[1]:
        return found
    for place in np.argsort(-scores, kind="stable"):
        match = int(ious[place].argmax())
        if ious[place, match] < _SAME_IOU:
            continue
        if difficult[match] or match not in taken:
            found[place] = 1
            taken.add(match)
    return found
