"""Misses over false windows of a detector that classifies windows, measured on a dataset."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from detkit.capabilities import ClassifiesWindows
from detkit.data.loading.samples import DetectionDataset, Key
from detkit.evaluation.metrics.miss_rate import DetCurve
from detkit.evaluation.metrics.window_curve import WindowCounts
from detkit.runtime.progress import say
from detkit.structures import Target


def window_curves(
    model: ClassifiesWindows, images: DetectionDataset, num_classes: int
) -> tuple[DetCurve, ...]:
    """Return for each class the curve of misses over false positives a window.

    All images are read twice: their objects give the margins at which windows are counted.
    """
    say("windows: misses over false positives a window")
    found = [model.object_margins(*_read(images, image)) for image in range(len(images))]
    margins, labels = (np.concatenate(parts) for parts in zip(*found, strict=True))
    counts = WindowCounts([margins[labels == label] for label in range(num_classes)])
    for image in range(len(images)):
        counts.add(model.background_margins(*_read(images, image)))
    return counts.curves()


def _read(images: DetectionDataset, image: int) -> tuple[NDArray[np.uint8], Target]:
    sample = images[Key(0, image)]
    return sample.image.permute(1, 2, 0).contiguous().numpy(), sample.target
