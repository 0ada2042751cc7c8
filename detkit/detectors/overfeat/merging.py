"""Boxes that agree become one: their average, with all of their scores (Sermanet 2014, section 4.3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]


@dataclass
class _Boxes:
    """Boxes that are being merged.

    Attributes:
        boxes: (N, 4) float64 averages.
        scores: (N,) sums.
        counts: (N,) how many each stands for; 0 once it is part of another.
        apart: (N, N) match scores; infinite for a box with itself, and for what is gone.
    """

    boxes: Floats
    scores: Floats
    counts: Floats
    apart: Floats

    @staticmethod
    def of(boxes: Floats, scores: Floats) -> _Boxes:
        # What is equally near is merged in this order, so that the order of the input does not matter.
        order = np.lexsort((*boxes.T, -scores))
        boxes = boxes[order].astype(np.float64)
        apart = match_scores(boxes, boxes)
        np.fill_diagonal(apart, np.inf)
        return _Boxes(boxes, scores[order].astype(np.float64), np.ones(len(boxes)), apart)

    def join(self, kept: int, gone: int) -> None:
        both = self.counts[[kept, gone]]
        self.boxes[kept] = both @ self.boxes[[kept, gone]] / both.sum()
        self.counts[kept], self.counts[gone] = both.sum(), 0
        self.scores[kept] += self.scores[gone]
        self.apart[gone] = self.apart[:, gone] = np.inf
        row = match_scores(self.boxes[kept : kept + 1], self.boxes)[0]
        row[self.counts == 0] = row[kept] = np.inf
        self.apart[kept] = self.apart[:, kept] = row


def match_scores(boxes: Floats, others: Floats) -> Floats:
    """Return how little each of (N, 4) boxes matches each of (M, 4) others: 0 for equal ones.

    It is the distance between the centres, in sides of a square of the mean area, and the share of that area
    that the intersection lacks.

    Example:
        >>> match_scores(np.array([[0.0, 0, 4, 4]]), np.array([[0.0, 0, 4, 4], [1, 0, 5, 4], [8, 0, 12, 4]]))
        array([[0. , 0.5, 3. ]])
    """
    low, high = boxes[:, None, :2], boxes[:, None, 2:]
    away = np.hypot(*np.moveaxis((low + high - others[:, :2] - others[:, 2:]) / 2, 2, 0))
    sides = np.minimum(high, others[:, 2:]) - np.maximum(low, others[:, :2])
    shared = sides.clip(0).prod(axis=2)
    own, theirs = ((each[:, 2:] - each[:, :2]).prod(axis=1) for each in (boxes, others))
    area = np.maximum((own[:, None] + theirs) / 2, np.finfo(np.float64).tiny)
    result: Floats = away / np.sqrt(area) + 1 - shared / area
    return result


def merge_boxes(boxes: Floats, scores: Floats, below: float) -> tuple[Floats, Floats]:
    """Merge the two boxes that match best until none match well enough.

    Each box counts once in the average that it becomes a part of.

    Args:
        boxes: (N, 4) corner boxes of one class.
        scores: (N,) of the windows that they come from.
        below: two boxes are merged up to this match score.

    Returns:
        (M, 4) averages, and (M,) sums of the scores, in no order.

    Example:
        >>> boxes = np.array([[0.0, 0, 10, 10], [1, 0, 11, 10], [50, 50, 60, 60]])
        >>> merged, sums = merge_boxes(boxes, np.array([0.5, 0.75, 0.5]), below=0.5)
        >>> merged.tolist(), sums.tolist()
        ([[0.5, 0.0, 10.5, 10.0], [50.0, 50.0, 60.0, 60.0]], [1.25, 0.5])
    """
    state = _Boxes.of(boxes, scores)
    if not len(boxes):
        return state.boxes, state.scores
    nearest = state.apart.argmin(axis=1)
    least = state.apart.min(axis=1)
    while least[first := int(least.argmin())] <= below:
        kept, gone = sorted((first, int(nearest[first])))
        state.join(kept, gone)
        stale = np.isin(nearest, (kept, gone))
        stale[[kept, gone]] = True
        # What has come nearer to the merged box than to its own nearest is found in the merged one's row.
        nearest[stale], least[stale] = state.apart[stale].argmin(axis=1), state.apart[stale].min(axis=1)
    left = state.counts > 0
    return state.boxes[left], state.scores[left]
