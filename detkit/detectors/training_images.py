"""Drawings of what a detector sees in training."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import nn

from detkit.capabilities import ShowsTrainingBoxes
from detkit.data.datasets.index import Index
from detkit.detectors.task import Task
from detkit.report.draw import draw_targets, tile_images
from detkit.structures import TrainBatch
from detkit.training.loop.config import GradientConfig

COLUMNS = 4
BATCH_SIZE = 4  # where a training has none, because it has several stages


@dataclass(frozen=True)
class TrainingImages:
    """What one step of a training sees.

    Attributes:
        picture: (H, W, 3) uint8 RGB.
        num_images: images in the step.
        num_objects: their objects, or the regions that show one.
    """

    picture: NDArray[np.uint8]
    num_images: int
    num_objects: int


def draw_images(task: Task) -> Iterator[TrainingImages]:
    """Yield batch after batch: augmented images, objects, and the boxes that would train.

    Args:
        task: the detector and its data. Without the capability `ShowsTrainingBoxes` a detector has no anchors
            or regions drawn.
    """
    index = Index.of(task.train_set.annotations)
    size = task.train.batch_size if isinstance(task.train, GradientConfig) else BATCH_SIZE
    model = task.build(task.detector, task.num_classes, task.seed, pretrained=False)
    for batch in task.train_loader(size).epoch(0):
        yield TrainingImages(
            _draw(batch, model, task.data.classes, index), len(batch), sum(map(len, batch.targets))
        )


def _draw(batch: TrainBatch, model: nn.Module, classes: tuple[str, ...], index: Index) -> NDArray[np.uint8]:
    trained = model.training_boxes(batch) if isinstance(model, ShowsTrainingBoxes) else None
    images, names = [], []
    for number, (target, (height, width)) in enumerate(zip(batch.targets, batch.images.sizes, strict=True)):
        pixels = batch.images.pixels[number, :, :height, :width].permute(1, 2, 0).contiguous().numpy()
        boxes, labels = target.boxes.numpy(), target.labels.numpy()
        anchors, regions = (part.numpy() for part in trained[number]) if trained else (None, None)
        points = None if target.keypoints is None else target.keypoints.numpy()
        images.append(
            draw_targets(pixels, boxes, labels, classes, anchors=anchors, regions=regions, keypoints=points)
        )
        names.append(f"{Path(index.path(target.image)).name}  {width}x{height}")
    return tile_images(images, min(COLUMNS, len(images)), captions=names)
