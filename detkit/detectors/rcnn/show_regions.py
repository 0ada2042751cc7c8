"""Draw the regions that R-CNN's fine-tuning sees, as the network sees them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from detkit.config.schema import Config
from detkit.data.datasets.source import Source
from detkit.data.regions.batch import RegionBatch
from detkit.detectors.rcnn.config import RCNNConfig
from detkit.detectors.task import Task
from detkit.models.pretrained import IMAGENET_MEAN
from detkit.ops.warp import warp
from detkit.report.draw import tile_images
from detkit.runs.session import Session
from detkit.runtime.device import choose_device
from detkit.training.staged.config import FineTuneConfig, StagedConfig
from detkit.training.staged.fine_tune import region_loader

COLUMNS, ROWS, CELL_PX = 8, 4, 200
BACKGROUND = "background"


@dataclass(frozen=True)
class DrawnRegions:
    """The regions of one step.

    Attributes:
        picture: (H, W, 3) uint8 RGB, the crops with their labels.
        num_images: images they come from.
        num_objects: those that show an object.
    """

    picture: NDArray[np.uint8]
    num_images: int
    num_objects: int


def draw_regions(config: Config, detector: RCNNConfig, learned: Source) -> Iterator[DrawnRegions]:
    """Yield the regions of step after step: some with an object, then some of background.

    Args:
        config: the config of the training.
        detector: its detector.
        learned: the images, with proposals.
    """
    spec = config.train.fine_tune if isinstance(config.train, StagedConfig) else None
    run = Session(config, choose_device("cpu"), None, 0)
    loader = region_loader(Task(run, learned, None, Path(), resume=False), spec or FineTuneConfig())
    for batch in loader(0, 0):
        yield _draw(batch, detector.regions.size, (*config.data.classes, BACKGROUND))


def _draw(batch: RegionBatch, size: int, names: tuple[str, ...]) -> DrawnRegions:
    is_object = batch.labels < len(names) - 1
    half = COLUMNS * ROWS // 2
    objects, others = torch.nonzero(is_object)[:half, 0], torch.nonzero(~is_object)[:half, 0]
    mean = 255 * torch.tensor(IMAGENET_MEAN)
    crops = warp(batch.table, batch.cuts, size, mean, torch.ones(3)) + mean.view(3, 1, 1)
    pixels = crops.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()
    shown = torch.cat([objects, others]).tolist()
    captions = [names[label] for label in batch.labels[shown].tolist()]
    picture = tile_images([pixels[row] for row in shown], COLUMNS, cell_px=CELL_PX, captions=captions)
    return DrawnRegions(picture, len(set(batch.numbers)), int(is_object.sum()))
