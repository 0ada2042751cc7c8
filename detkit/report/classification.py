"""Report content of a classifier."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from detkit.annotations.dataset import AnnotationSet
from detkit.evaluation.metrics.accuracy import Accuracy
from detkit.report.content import ConfusionMatrix, Number, Picture, ReportData, Table
from detkit.report.draw import Image, draw_detections, fit

NUM_MISTAKES = 30
SIDE_PX = 320


def with_classification(
    page: ReportData,
    accuracy: Accuracy,
    counts: tuple[Number, ...],
    truth: AnnotationSet,
    pixels: Callable[[int], Image],
) -> ReportData:
    """Return a page with the accuracy, the confusions and the surest mistakes of a classifier.

    Args:
        page: what every report shows.
        accuracy: the numbers.
        counts: figures for the top of the page.
        truth: the N images and their classes.
        pixels: image index to (H, W, 3) uint8 RGB.
    """
    named = Number("top-1", accuracy.top1, "its class comes first")
    among = Number("top-5", accuracy.top5, "its class is among the first five")
    return replace(
        page,
        summary=(named, among, *counts),
        per_class=_per_class(accuracy, truth.classes),
        confusion=ConfusionMatrix(
            (*truth.classes, "nothing"),
            np.vstack([accuracy.confusion(), np.zeros((1, len(truth.classes) + 1), np.int64)]),
            "Images of each class by the class that comes first. Shades are shares of a row.",
        ),
        mistakes=_mistakes(accuracy, truth, pixels),
    )


def _per_class(accuracy: Accuracy, classes: tuple[str, ...]) -> Table:
    counts = np.bincount(accuracy.labels, minlength=len(classes))
    rows = tuple(
        (name, int(count), float(one), float(five))
        for name, count, one, five in zip(
            classes, counts, accuracy.per_class, accuracy.per_class_top5, strict=True
        )
    )
    return Table(("class", "images", "top-1", "top-5"), rows, bars=("top-1", "top-5"), colours=True)


def _mistakes(
    accuracy: Accuracy, truth: AnnotationSet, pixels: Callable[[int], Image]
) -> tuple[Picture, ...]:
    """Return the images that are classified wrongly with the highest scores."""
    wrong = np.flatnonzero((accuracy.first != accuracy.labels) & (accuracy.first >= 0))
    worst = wrong[np.argsort(-accuracy.scores[wrong], kind="stable")][:NUM_MISTAKES]
    pictures = []
    for image in worst.tolist():
        small = fit(pixels(image), SIDE_PX)
        whole = np.array([[0.0, 0.0, small.shape[1], small.shape[0]]])
        guess, score = accuracy.first[[image]], accuracy.scores[[image]]
        drawn = draw_detections(small, whole, guess, score, truth.classes, weight=2.0)
        caption = f"labelled {truth.classes[accuracy.labels[image]]}"
        pictures.append(Picture(drawn, caption, "wrong class", Path(str(truth.image_files[image])).name))
    return tuple(pictures)
