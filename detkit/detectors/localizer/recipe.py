"""Training of a localizer: by gradient, on key points that are those of its config."""

from __future__ import annotations

from typing import cast

from detkit.detectors.gradient_recipe import train_by_gradient
from detkit.detectors.localizer.config import LocalizerConfig
from detkit.detectors.task import Progress, Task
from detkit.errors import UserError


def train_localizer(task: Task) -> Progress:
    """Train all stages together; see `train_by_gradient`.

    Raises:
        UserError: the training set has other key points than the config names; and as in `train_by_gradient`.
    """
    points, layout = cast(LocalizerConfig, task.detector).keypoints, task.train_set.annotations.layout
    if points is not None and (layout is None or layout.names != points.names):
        there = "no key points" if layout is None else f"these, in this order: {', '.join(layout.names)}"
        raise UserError(
            f"detector.keypoints.names: {', '.join(points.names)}; but the training set has {there}"
        )
    return train_by_gradient(task)
