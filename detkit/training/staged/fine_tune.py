"""Fine-tuning: the first stage, in which a pretrained network is trained to classify regions."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import nn
from torch.optim import Optimizer

from detkit.data.regions.batch import Batch
from detkit.data.regions.training_regions import TrainingRegions
from detkit.models.assignment import CROWD_IOU, assign
from detkit.runtime.processes import rank
from detkit.storage.atomic import durable_file
from detkit.storage.run_folder import CHECKPOINT
from detkit.training.loop import optim
from detkit.training.loop.checkpoint import steps_done
from detkit.training.loop.fit import fit
from detkit.training.loop.log import TrainingLog
from detkit.training.loop.timeline import Timeline
from detkit.training.staged.stage_files import reading

Loader = Callable[[int, int], Iterable[Batch]]

NETWORK = "network.safetensors"
WARMUP_START, DROP = 0.001, 0.1


def fine_tune(
    model: nn.Module,
    batches: Loader,
    optimizer: Optimizer,
    part: Path,
    *,
    steps: int,
    drop_every: int,
    warmup_steps: int,
    log_folder: Path,
    **settings: Any,
) -> float:
    """Run the training loop and leave the weights in `part`; return the regions (or images) per second.

    Args:
        model: the detector, on the session's device.
        batches: given an epoch, which is 0, and a step, returns the batches from that step on.
        optimizer: its update rule.
        part: folder of the stage; from a checkpoint of an earlier attempt in it the training is resumed.
        steps: length of the training.
        drop_every: steps after which the learning rate falls to a tenth, again and again; 0 keeps it.
        warmup_steps: over how many steps the learning rate rises at the start.
        log_folder: where metrics.jsonl is.
        settings: whatever else `fit` takes: session, seed, accumulate and so on.

    Raises:
        UserError: an image cannot be read.
        NonFiniteLossError: the training diverged.
        KeyboardInterrupt: after Ctrl-C, once a checkpoint is written.
    """
    resumes = (part / CHECKPOINT).exists()
    done = steps_done(part) if resumes else 0
    drops = tuple(range(drop_every, steps, drop_every)) if drop_every else ()
    warmup = optim.warmup_length(warmup_steps, steps)
    log = TrainingLog(log_folder, steps, done, tensorboard=False) if rank() == 0 else None
    with log or nullcontext():
        fit(
            model,
            batches,
            optimizer,
            optim.Schedule(optim.step_decay(drops, DROP), warmup, WARMUP_START),
            timeline=Timeline([steps]),
            on_step=log,
            folder=part,
            resumes=resumes,
            **settings,
        )
    if rank() == 0:
        save_network(model, part)
    return log.mean_rate if log is not None else 0.0


def save_network(model: nn.Module, folder: Path) -> None:
    """Leave a model's weights in a folder, and nothing else there that only resuming needs."""
    state = {name: value.detach().cpu().contiguous().clone() for name, value in model.state_dict().items()}
    with durable_file(folder / NETWORK) as file:
        save_file(state, file)
    (folder / CHECKPOINT).unlink(missing_ok=True)


def load_network(model: nn.Module, folder: Path) -> None:
    """Give a model the weights that `save_network` left."""
    with reading(folder / NETWORK):
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
    return np.concatenate(labels), np.cumsum([len(part) for part in labels])
