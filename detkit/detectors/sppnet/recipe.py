"""SPP-net's training: the regions of a fine-tuning step are sampled from a few whole images."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import cast

from detkit.data.loading.loaders import TrainLoader
from detkit.data.loading.samples import DetectionDataset
from detkit.data.regions.training_regions import TrainingRegions
from detkit.data.transforms.builder import resizing
from detkit.data.transforms.geometric import Flip
from detkit.data.transforms.resize import Resize
from detkit.detectors.sppnet.config import SPPNetConfig
from detkit.detectors.sppnet.model import RegionSampling, SPPNet
from detkit.detectors.task import Task
from detkit.models.roi.region_detector import RegionDetector
from detkit.ops.sampling import Sampler
from detkit.structures import TrainBatch
from detkit.training.staged.config import FineTuneConfig
from detkit.training.staged.fine_tune import Loader


def image_batches(task: Task, config: FineTuneConfig, model: RegionDetector) -> Loader:
    """Return the batches of SPP-net's fine-tuning, those of this process, and set the model's sampler.

    Each image is mirrored by chance. It is as large as a test reads it, or has one of the smaller sizes, too,
    where the config draws them image by image.

    Args:
        task: the data and where it runs.
        config: what a step sees.
        model: an SPP-net.

    Reference: He et al., ECCV 2014, section 4.
    """
    regions = TrainingRegions.of(task.train_set)
    per_image = config.batch_size // config.images_per_step
    cast(SPPNet, model).sampling = RegionSampling(
        Sampler(per_image, config.fg_fraction), config.fg_iou, (config.bg_low_iou, config.fg_iou)
    )
    spec, resize = cast(SPPNetConfig, task.detector), task.data.resize
    scales = spec.scales_px if spec.copy_for_each == "image" else ()
    last = Resize(scales, resize.long_px) if scales and resize else resizing(resize)
    images = DetectionDataset(
        regions.index,
        task.train_set.pixels,
        (Flip(config.flip, "horizontal"), last),
        task.seed,
        regions,
    )
    loader = TrainLoader(
        task.data,
        images,
        batch_size=config.images_per_step,
        seed=task.seed,
        workers=task.session.workers,
        pin_memory=task.session.pin_memory,
    )
    return lambda _, start: islice(_endless(loader, start), config.steps - start)


def _endless(loader: TrainLoader, start: int) -> Iterator[TrainBatch]:
    """Yield the batches of one pass over the data after the other, from a step on."""
    epoch = 0
    while start >= loader.num_steps(epoch):
        start -= loader.num_steps(epoch)
        epoch += 1
    while True:
        yield from loader.epoch(epoch, start)
        epoch, start = epoch + 1, 0
