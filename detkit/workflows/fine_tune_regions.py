"""Teach R-CNN's network to tell regions apart, by regions drawn from all images alike."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import nullcontext
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import nn

from detkit.build.augmentation import eval_transforms
from detkit.build.training import build_optimizer
from detkit.config.dump import dump_config
from detkit.config.rcnn import RCNN
from detkit.config.staged import FineTune
from detkit.config.training import Gradient
from detkit.data.index import Index
from detkit.data.kept_pixels import KeptPixels
from detkit.data.region_batch import Batch
from detkit.data.region_draw import RegionDraw
from detkit.data.region_loading import RegionDataset, RegionLoader
from detkit.data.samples import DetectionDataset
from detkit.data.training_regions import TrainingRegions
from detkit.errors import UserError
from detkit.inference.durable_file import durable_file
from detkit.models.assignment import assign
from detkit.ops.matching import BACKGROUND
from detkit.training import optim
from detkit.training.distributed import rank, world_size
from detkit.training.fit import fit
from detkit.training.log import TrainingLog
from detkit.training.timeline import Timeline
from detkit.workflows.resume import steps_done
from detkit.workflows.run_folder import CHECKPOINT, say
from detkit.workflows.session import amount_of
from detkit.workflows.task import Task

Loader = Callable[[int, int], Iterable[Batch]]

NETWORK = "network.safetensors"
WARMUP_START, DROP = 0.001, 0.1
CROWD_IOU = 0.7  # a region that lies in a crowd by more than this share is not background


def fine_tune(
    task: Task, spec: FineTune, model: nn.Module, new_layer: nn.Module, loader: Loader, part: Path
) -> float:
    """Run the training loop and leave the weights in `part`; return the regions (or images) per second.

    Args:
        task: where it runs, and the run's folder.
        spec: how.
        model: the detector, on the session's device.
        new_layer: its part that starts anew, with a rate of its own.
        loader: given an epoch, which is 0, and a step, returns the batches from that step on.
        part: folder of the stage; a checkpoint of an earlier attempt in it is gone on from.

    Raises:
        UserError: an image cannot be read.
        NonFiniteLossError: the training diverged.
        KeyboardInterrupt: after Ctrl-C, once a checkpoint is written.
    """
    run, begun = task.run, (part / CHECKPOINT).exists()
    threads = run.threads.anew("fine-tuning")
    optimizer, _ = build_optimizer(as_gradient(spec), model)
    optim.raise_rates(optimizer, new_layer.parameters(), spec.new_lr_factor)
    done = steps_done(part) if begun else 0
    log = TrainingLog(task.folder, spec.steps, done, tensorboard=False) if rank() == 0 else None
    with log or nullcontext():
        fit(
            model,
            lambda *place: threads.over(loader(*place), amount_of),
            optimizer,
            _schedule(spec),
            timeline=Timeline([spec.steps]),
            seed=task.config.seed,
            device=run.device,
            precision=run.precision,
            accumulate=spec.accumulate,
            clip_norm=spec.clip_norm,
            ema_decay=None,
            validation=None,
            save_model=lambda model: None,
            on_step=log if log is not None else lambda _: None,
            image_name=Index.of(task.learned.annotations).path,
            folder=part,
            save_every_steps=spec.save_every_steps,
            resumes=begun,
            config_text=dump_config(task.config),
        )
    if rank() == 0:
        save_network(model, part)
    return log.mean_rate if log is not None else 0.0


def save_network(model: nn.Module, folder: Path) -> None:
    """Leave a model's weights in a folder, and nothing else there that only going on needs."""
    state = {name: value.detach().cpu().contiguous().clone() for name, value in model.state_dict().items()}
    with durable_file(folder / NETWORK) as file:
        save_file(state, file)
    (folder / CHECKPOINT).unlink(missing_ok=True)


def load_network(model: nn.Module, folder: Path) -> None:
    """Give a model the weights that `save_network` left."""
    model.load_state_dict(load_file(folder / NETWORK))


def label_regions(
    regions: TrainingRegions, fg_iou: float, bg_low_iou: float
) -> tuple[NDArray[np.int16], NDArray[np.int64]]:
    """Return the label of every region, background and what is left out as negative numbers, and offsets.

    Args:
        regions: of N images.
        fg_iou: a region stands for the object it overlaps most from this IoU on.
        bg_low_iou: a region that overlaps less is left out.
    """
    labels = [np.zeros(0, np.int16)]
    for image in range(len(regions)):
        target = regions.index.target(image)
        limits = (bg_low_iou, fg_iou)
        matches = assign(
            regions.boxes(image), target, fg_iou=fg_iou, bg_iou=limits, force=False, crowd_iou=CROWD_IOU
        )
        chosen = matches.clone()
        chosen[matches >= 0] = target.labels[matches[matches >= 0]]
        labels.append(chosen.numpy().astype(np.int16))
    counts = [len(part) for part in labels]
    return np.concatenate(labels), np.cumsum(counts)


def region_loader(task: Task, spec: FineTune) -> RegionLoader:
    """Return the batches of R-CNN's fine-tuning, those of this process.

    Raises:
        UserError: a step cannot be divided among the processes, or there is nothing to draw regions from.
    """
    run, config = task.run, task.config
    if spec.batch_size % world_size():
        raise UserError(
            f"train.fine_tune.batch_size: {spec.batch_size} regions cannot be divided among {world_size()} "
            "processes"
        )
    regions = TrainingRegions.of(task.learned)
    labels, offsets = label_regions(regions, spec.fg_iou, spec.bg_low_iou)
    draw = RegionDraw.of(
        labels,
        offsets,
        num=spec.batch_size,
        fg_fraction=spec.fg_fraction,
        flip=spec.flip,
        seed=config.seed,
    )
    if rank() == 0:
        num_background = int((labels == BACKGROUND).sum())
        say(f"{len(draw.with_object):,} regions with an object, {num_background:,} of background")
    pixels = KeptPixels(task.learned.pixels, spec.images_in_memory_gb * 2**30)
    images = DetectionDataset(regions.index, pixels, eval_transforms(config.data), config.seed, regions)
    assert isinstance(config.detector, RCNN)
    crop = config.detector.regions
    return RegionLoader(
        RegionDataset(images, crop.size, crop.context_px, square=crop.mode == "square"),
        draw,
        num_steps=spec.steps,
        num_classes=len(config.data.classes),
        workers=run.workers,
        rank=rank(),
        world_size=world_size(),
        pin_memory=False,
    )


def _schedule(spec: FineTune) -> optim.Schedule:
    drops = tuple(range(spec.drop_every, spec.steps, spec.drop_every)) if spec.drop_every else ()
    warmup = optim.warmup_length(spec.warmup_steps, spec.steps)
    return optim.Schedule(optim.step_decay(drops, DROP), warmup, WARMUP_START)


def as_gradient(spec: FineTune) -> Gradient:
    """Return the same learning in the words of a training by gradient."""
    return Gradient(type="gradient", epochs=1, batch_size=spec.batch_size, optimizer=spec.optimizer)
