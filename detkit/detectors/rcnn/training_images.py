"""Drawings of the regions that R-CNN's fine-tuning sees, as the network sees them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import torch

from detkit.data.regions.batch import RegionBatch
from detkit.detectors.rcnn.config import RCNNConfig
from detkit.detectors.rcnn.recipe import region_batches
from detkit.detectors.task import Task
from detkit.detectors.training_images import TrainingImages
from detkit.models.pretrained import IMAGENET_MEAN
from detkit.ops.warp import warp
from detkit.report.draw import tile_images
from detkit.training.staged.config import FineTuneConfig, StagedConfig

COLUMNS, ROWS, CELL_PX = 8, 4, 200
BACKGROUND = "background"


def draw_regions(task: Task) -> Iterator[TrainingImages]:
    """Yield the regions of step after step: some with an object, then some of background.

    Args:
        task: an R-CNN and its data, with proposals.
    """
    size = cast(RCNNConfig, task.detector).regions.size
    config = task.train.fine_tune if isinstance(task.train, StagedConfig) else None
    for batch in region_batches(task, config or FineTuneConfig())(0, 0):
        yield _draw(batch, size, (*task.data.classes, BACKGROUND))


def _draw(batch: RegionBatch, size: int, names: tuple[str, ...]) -> TrainingImages:
    is_object = batch.labels < len(names) - 1
    half = COLUMNS * ROWS // 2
    objects, others = torch.nonzero(is_object)[:half, 0], torch.nonzero(~is_object)[:half, 0]
    mean = 255 * torch.tensor(IMAGENET_MEAN)
    crops = warp(batch.table, batch.cuts, size, mean, torch.ones(3)) + mean.view(3, 1, 1)
    pixels = crops.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()
    shown = torch.cat([objects, others]).tolist()
    captions = [names[label] for label in batch.labels[shown].tolist()]
    picture = tile_images([pixels[row] for row in shown], COLUMNS, cell_px=CELL_PX, captions=captions)
    return TrainingImages(picture, len(set(batch.numbers)), int(is_object.sum()))
