"""R-CNN's mining of hard negatives, one class and one box at a time, with Python lists."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from detkit.training.staged.svms import LinearSVM, train_svm

Array = NDArray[np.float32]


def mine_one_class(
    positives: Array,
    images: list[tuple[Array, NDArray[np.bool_]]],
    *,
    retrain_after: int,
    hard_above: float,
    evict_below: float,
) -> tuple[LinearSVM, list[tuple[int, int]], int]:
    """Return the plane, the (image, box) of every negative that is left, and how often it was learned."""
    cache: dict[tuple[int, int], Array] = {}
    svm: LinearSVM | None = None
    added, rounds = 0, 0
    for image, (features, negative) in enumerate(images):
        for box in range(len(features)):
            if not negative[box]:
                continue
            if svm is None or features[box].astype(np.float64) @ svm.weights + svm.bias > hard_above:
                cache[image, box] = features[box]
                added += 1
        first_time, last = svm is None and added > 0, image == len(images) - 1
        if first_time or last or added > retrain_after:
            rows = np.stack([*positives, *cache.values()])
            positive = np.arange(len(rows)) < len(positives)
            svm = train_svm(rows, positive, c=0.001, positive_weight=2.0, bias_multiplier=10.0)
            rounds, added = rounds + 1, 0
            for key in [k for k, row in cache.items() if row @ svm.weights + svm.bias < evict_below]:
                del cache[key]
    assert svm is not None
    return svm, list(cache), rounds
