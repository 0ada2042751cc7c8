"""Report content of a classifier."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from detkit.annotations.dataset import AnnotationSet
from detkit.evaluation.metrics.accuracy import Accuracy
from detkit.report.content import ConfusionMatrix, Mistakes, Picture
from detkit.report.draw import Image, draw_detections, fit

MISTAKES_OF_CLASS = 20
MOST_MISTAKES = 100
SIDE_PX = 320


def first_classes(accuracy: Accuracy, classes: tuple[str, ...]) -> ConfusionMatrix:
    """Return how many images of each class have which class first."""
    num_classes = len(classes)
    return ConfusionMatrix(
        (*classes, "nothing"),
        np.vstack([accuracy.confusion(), np.zeros((1, num_classes + 1), np.int64)]),
        "Images of each class by the class that comes first. Shades are shares of a row.",
    )


def surest_mistakes(
    accuracy: Accuracy, truth: AnnotationSet, pixels: Callable[[int], Image]
) -> tuple[Mistakes, ...]:
    """Return for each class its images that are classified as another with the highest scores.

    Args:
        accuracy: what came first.
        truth: the N images and their classes.
        pixels: image index to (H, W, 3) uint8 RGB.
    """
    wrong = (accuracy.first != accuracy.labels) & (accuracy.first >= 0)
    many = len(np.unique(accuracy.labels[wrong])) or 1
    groups = []
    for label, name in enumerate(truth.classes):
        own = accuracy.labels == label
        lost = np.flatnonzero(wrong & own)
        worst = lost[np.argsort(-accuracy.scores[lost], kind="stable")]
        shown = worst[: min(MISTAKES_OF_CLASS, max(1, MOST_MISTAKES // many))].tolist()
        if shown:
            note = f"{len(lost):,} of {own.sum():,} images classified as another"
            pictures = tuple(_picture(image, accuracy, truth, pixels) for image in shown)
            groups.append(Mistakes(label, name, note, pictures))
    return tuple(groups)


def _picture(image: int, accuracy: Accuracy, truth: AnnotationSet, pixels: Callable[[int], Image]) -> Picture:
    small = fit(pixels(image), SIDE_PX)
    whole = np.array([[0.0, 0.0, small.shape[1], small.shape[0]]])
    guess, score = accuracy.first[[image]], accuracy.scores[[image]]
    drawn = draw_detections(small, whole, guess, score, truth.classes, weight=2.0)
    caption = f"labelled {truth.classes[accuracy.labels[image]]}"
    return Picture(drawn, caption, "wrong class", Path(str(truth.image_files[image])).name)
