"""Fast R-CNN's training: measured box targets, the loop, and SVMs in place of the softmax where asked for."""

from __future__ import annotations

from typing import cast

from detkit.detectors.fast_rcnn.box_targets import measure_box_targets
from detkit.detectors.fast_rcnn.config import FastRCNNConfig
from detkit.detectors.fast_rcnn.model import FastRCNN
from detkit.detectors.fast_rcnn.post_hoc_svms import fit_post_hoc_svms
from detkit.detectors.gradient_recipe import train_by_gradient
from detkit.detectors.task import Progress, Task


def train_fast_rcnn(task: Task) -> Progress:
    """Train a Fast R-CNN end to end; see `train_by_gradient`.

    Reference: Girshick, Fast R-CNN, ICCV 2015, sections 2.3 and 5.4.
    """
    config = cast(FastRCNNConfig, task.detector)
    model = cast(FastRCNN, task.initial_model(replaced=task.resume))
    measure_box_targets(config.head, model, task, continues=task.from_weights is not None)
    progress = train_by_gradient(task, model)
    if config.svms is not None:
        fit_post_hoc_svms(task, config, config.svms)
    return progress
