"""R-CNN's training: the regions of a fine-tuning step are sampled from all images alike."""

from __future__ import annotations

from typing import cast

from detkit.data.loading.samples import DetectionDataset
from detkit.data.regions.loader import PixelCache, RegionDataset, RegionLoader, RegionSampler
from detkit.data.regions.training_regions import TrainingRegions
from detkit.data.transforms.builder import eval_transforms
from detkit.detectors.rcnn.config import RCNNConfig
from detkit.detectors.staged_recipe import train_in_stages
from detkit.detectors.task import Progress, Task
from detkit.errors import UserError
from detkit.models.roi.region_detector import RegionDetector
from detkit.ops.matching import BACKGROUND
from detkit.runtime.processes import rank, world_size
from detkit.runtime.progress import say
from detkit.training.staged.config import FineTuneConfig
from detkit.training.staged.fine_tune import label_regions


def train_rcnn(task: Task) -> Progress:
    """Train an R-CNN in stages; see `train_in_stages`.

    Reference: Girshick et al., CVPR 2014, section 2.3 and appendix B.
    """
    return train_in_stages(task, region_batches)


def region_batches(task: Task, config: FineTuneConfig, model: RegionDetector | None = None) -> RegionLoader:
    """Return the batches of R-CNN's fine-tuning, those of this process.

    Args:
        task: the data and where it runs.
        config: what a step sees.
        model: is not asked; the regions are the same for every network.

    Raises:
        UserError: a step cannot be divided among the processes, or there is nothing to sample regions from.
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
        say(f"{len(sampler.with_object):,} regions with an object, {num_background:,} of background")
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
