"""R-CNN's fine-tuning: the regions of a step are sampled from all images alike; and drawings of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import torch

from detkit.data.loading.samples import DetectionDataset
from detkit.data.regions.batch import RegionBatch
from detkit.data.regions.loader import PixelCache, RegionDataset, RegionLoader, RegionSampler
from detkit.data.regions.training_regions import TrainingRegions
from detkit.data.transforms.builder import eval_transforms
from detkit.detectors.rcnn.config import RCNNConfig
from detkit.detectors.task import Task
from detkit.detectors.training_images import TrainingImages
from detkit.errors import UserError
from detkit.models.roi.region_detector import RegionDetector
from detkit.names import counted
from detkit.ops.matching import BACKGROUND
from detkit.ops.warp import warp
from detkit.report.draw import tile_images
from detkit.runtime.processes import rank, world_size
from detkit.runtime.progress import say
from detkit.structures import IMAGENET_MEAN
from detkit.training.staged.config import FineTuneConfig, StagedConfig
from detkit.training.staged.fine_tune import label_regions

COLUMNS, ROWS, CELL_PX = 8, 4, 200  # of a drawing


def region_batches(task: Task, config: FineTuneConfig, model: RegionDetector | None = None) -> RegionLoader:
    """Return the batches of R-CNN's fine-tuning, those of this process.

    Args:
        task: the data and where it runs.
        config: what a step sees.
        model: is not asked; the regions are the same for every network.

    Raises:
        UserError: a step cannot be divided among the processes, or there is nothing to sample regions from.

    Reference: Girshick et al., CVPR 2014, section 2.3 and appendix B.
    """
    if config.batch_size % world_size():
        raise UserError(
            f"train.fine_tune.batch_size: {config.batch_size} regions cannot be divided among {world_size()} "
            "processes"
        )
    regions = TrainingRegions.of(task.train_set)
    labels, offsets = label_regions(regions, config.fg_iou, config.bg_low_iou)
    sampler = RegionSampler.of(
        labels,
        offsets,
        num=config.batch_size,
        fg_fraction=config.fg_fraction,
        flip=config.flip,
        seed=task.seed,
    )
    if rank() == 0:
        num_background = int((labels == BACKGROUND).sum())
        say(f"{counted(len(sampler.with_object), 'region')} with an object, {num_background:,} of background")
    pixels = PixelCache(task.train_set.pixels, config.images_in_memory_gb * 2**30)
    images = DetectionDataset(regions.index, pixels, eval_transforms(task.data), task.seed, regions)
    crop = cast(RCNNConfig, task.detector).regions
    return RegionLoader(
        RegionDataset(images, crop.size, crop.context_px, square=crop.mode == "square"),
        sampler,
        num_steps=config.steps,
        num_classes=task.num_classes,
        workers=task.session.workers,
    )


def draw_regions(task: Task) -> Iterator[TrainingImages]:
    """Yield the regions of step after step: some with an object, then some of background.

    Args:
        task: an R-CNN and its data, with proposals.
    """
    size = cast(RCNNConfig, task.detector).regions.size
    config = task.train.fine_tune if isinstance(task.train, StagedConfig) else None
    for batch in region_batches(task, config or FineTuneConfig())(0, 0):
        yield _draw(batch, size, (*task.data.classes, "background"))


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
