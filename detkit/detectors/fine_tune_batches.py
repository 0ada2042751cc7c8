"""The batches of a fine-tuning: R-CNN's are regions of all images alike, SPP-net's are some whole images."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from torch import nn

from detkit.data.loading.loaders import TrainLoader, make_train_loader
from detkit.data.loading.samples import DetectionDataset
from detkit.data.regions.training_regions import TrainingRegions
from detkit.data.transforms.builder import resizing
from detkit.data.transforms.geometric import Flip, Resize
from detkit.detectors.sppnet.model import Draw, SPPNet
from detkit.detectors.task import Task
from detkit.ops.sampling import Sampler
from detkit.runtime.processes import rank, world_size
from detkit.structures import TrainBatch
from detkit.training.staged.config import FineTuneConfig
from detkit.training.staged.fine_tune import Loader, region_loader


def fine_tune_batches(task: Task, spec: FineTuneConfig, model: nn.Module) -> Loader:
    """Return the batches of a fine-tuning, those of this process.

    An SPP-net is told which regions of an image to draw.

    Args:
        task: the data and where it runs.
        spec: what a step sees.
        model: the detector.

    Raises:
        UserError: a step cannot be divided among the processes, or there is nothing to draw regions from.
    """
    return _images(task, spec, model) if isinstance(model, SPPNet) else region_loader(task, spec)


def _images(task: Task, spec: FineTuneConfig, model: SPPNet) -> Loader:
    """Each image has one of the sizes that a test reads, by chance, and is mirrored by chance."""
    config, regions = task.config, TrainingRegions.of(task.learned)
    per_image = spec.batch_size // spec.images_per_step
    model.draw = Draw(Sampler(per_image, spec.fg_fraction), spec.fg_iou, (spec.bg_low_iou, spec.fg_iou))
    scales, resize = getattr(config.detector, "scales_px", ()), config.data.resize
    last = Resize(scales, resize.long_px) if scales and resize else resizing(resize)
    images = DetectionDataset(
        regions.index,
        task.learned.pixels,
        (Flip(spec.flip, "horizontal"), last),
        config.seed,
        regions,
    )
    loader = make_train_loader(
        images,
        batch_size=spec.images_per_step,
        seed=config.seed,
        workers=task.run.workers,
        rank=rank(),
        world_size=world_size(),
        group_by_aspect=config.data.group_by_aspect,
        repeat_threshold=config.data.repeat_threshold,
        num_classes=len(config.data.classes),
        pin_memory=task.run.device.type == "cuda",
    )
    return lambda _, start: islice(_endless(loader, start), spec.steps - start)


def _endless(loader: TrainLoader, start: int) -> Iterator[TrainBatch]:
    """Yield the batches of one pass over the data after the other, from a step on."""
    epoch = 0
    while start >= loader.num_steps(epoch):
        start -= loader.num_steps(epoch)
        epoch += 1
    while True:
        yield from loader.epoch(epoch, start)
        epoch, start = epoch + 1, 0
