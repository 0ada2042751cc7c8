"""Localization accuracy, as ImageNet's challenge counts it: the class and the box of a guess are right."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detkit.annotations.dataset import AnnotationSet, DetectionSet
from detkit.evaluation.metrics.accuracy import TOP, places
from detkit.evaluation.metrics.matching import check_pair
from detkit.evaluation.metrics.overlaps import nearest_objects

IOU = 0.5


@dataclass(frozen=True)
class Localization:
    """Share of the images that are localized, overall and by class; the error is one less it.

    Images without an object that counts are left out.

    Attributes:
        top1: share of the images whose best guess is right; NaN without images.
        top5: share of them with a right one among the first five.
        per_class: (K,) top1 over the images that show each class; NaN for a class without images.
        per_class_top5: (K,) the same for the first five.
    """

    top1: float
    top5: float
    per_class: NDArray[np.float64]
    per_class_top5: NDArray[np.float64]


def evaluate_localization(truth: AnnotationSet, detections: DetectionSet) -> Localization:
    """Count the images where a guess has the class of an object and IoU 0.5 or more with it.

    An image's guesses are its detections by falling score. One is right on any object of its class there,
    crowds and difficult objects aside. Boxes are continuous (width = x2 - x1).

    Args:
        truth: N images and their objects.
        detections: the guesses, in the same box format.

    Raises:
        UserError: the detections do not fit the annotations.

    Example:
        >>> from detkit.evaluation.example import two_images
        >>> found = evaluate_localization(*two_images())
        >>> found.top1, found.top5, found.per_class.tolist()
        (0.5, 0.5, [1.0, 0.5])

    Reference: Russakovsky et al., ImageNet Large Scale Visual Recognition Challenge, IJCV 2015; its error is
    the mean over images of the least error of five guesses.
    """
    check_pair(truth, detections)
    counts = ~(truth.crowd | truth.difficult)
    right = nearest_objects(truth, detections, counts).same_iou >= IOU
    place = places(detections.images, detections.scores)
    shows = np.zeros((truth.num_images, len(truth.classes)), np.bool_)
    shows[truth.image_index()[counts], truth.labels[counts]] = True
    known = shows.any(axis=1)
    hits = []
    for limit in (1, TOP):
        hit = np.zeros(truth.num_images, np.bool_)
        hit[detections.images[right & (place < limit)]] = True
        hits.append(hit)
    overall = [float(hit[known].mean()) if known.any() else np.nan for hit in hits]
    number = shows.sum(axis=0)
    of_class = [
        np.where(number, (shows & hit[:, None]).sum(axis=0) / np.maximum(number, 1), np.nan) for hit in hits
    ]
    return Localization(overall[0], overall[1], of_class[0], of_class[1])
