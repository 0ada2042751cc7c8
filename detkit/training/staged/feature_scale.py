"""One number that brings the features of a network to the size that SVMs and ridge regression expect."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detkit.errors import UserError

TARGET_NORM = 20.0
MOST_IMAGES, MOST_BOXES = 200, 200
_CHOICE = 7  # keeps this random stream apart from others of the same seed


def feature_scale(features: Callable[[int], NDArray[np.floating[Any]]], num_images: int, seed: int) -> float:
    """Return the factor that makes the mean norm of features 20: one for all, so that lengths keep meaning.

    The mean is taken over at most 200 boxes of each of at most 200 images, chosen at random.

    Args:
        features: returns the (N, D) features of the boxes of image i.
        num_images: how many images there are.
        seed: seeds the choice.

    Raises:
        UserError: there are no boxes, or their features are all 0 or not finite.

    Reference: Girshick et al., R-CNN, CVPR 2014.
    """
    chance = np.random.default_rng([_CHOICE, seed])
    images = np.sort(chance.permutation(num_images)[:MOST_IMAGES])
    total, count = 0.0, 0
    for image in images.tolist():
        of_image = features(image)
        chosen = np.sort(chance.permutation(len(of_image))[:MOST_BOXES])
        total += float(np.linalg.norm(of_image[chosen].astype(np.float64), axis=1).sum())
        count += len(chosen)
    if count == 0:
        raise UserError("features: none of the training images has a box to take features from")
    if not np.isfinite(total) or total == 0:
        raise UserError(
            f"features: their mean norm over {count} boxes is {total / count}; the network's weights give "
            "nothing to learn from. Check backbone.weights"
        )
    return TARGET_NORM * count / total
