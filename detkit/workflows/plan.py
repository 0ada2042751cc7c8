"""`detkit plan`: what a training will take, before it is started."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, cast

import numpy as np
from torch import nn

from detkit.config.load import as_config
from detkit.config.schema import Config
from detkit.data.datasets.builder import open_training_set, open_validation_set, warn_of_untrained
from detkit.data.loading.loaders import EvalLoader
from detkit.data.loading.samples import DetectionDataset
from detkit.data.regions.attached_proposals import attach_proposals
from detkit.data.regions.batch import amount_of
from detkit.data.transforms.builder import eval_transforms, train_transforms
from detkit.detectors.families import family_of
from detkit.detectors.staged_recipe import Batches, cached_bytes, new_layer_optimizer
from detkit.detectors.task import Task
from detkit.errors import UserError
from detkit.inference.detect_set import detect_set
from detkit.models.roi.region_detector import RegionDetector
from detkit.names import counted
from detkit.runs.session import session, task_of
from detkit.runtime.memory import free_bytes, shared_bytes, shown_bytes
from detkit.runtime.threads import Threads
from detkit.structures import TrainBatch
from detkit.training.loop.builder import build_optimizer
from detkit.training.loop.config import GradientConfig
from detkit.training.memory_probe import SAFETY, MemoryProbe, Step
from detkit.training.staged.config import StagedConfig
from detkit.training.staged.feature_store import RegionReader
from detkit.training.staged.plan import StagedPlan, measure_steps, regions_per_second

TIMED_STEPS = 3
MOST_PARTS = 64


@dataclass(frozen=True)
class Plan:
    """What a training takes, in bytes and seconds.

    Attributes:
        device: where it runs.
        precision: what it computes in.
        batch_size: images of a step.
        parts: in how many parts a step is processed.
        predicted_bytes: peak memory by the line through two smaller probes; None where one image is too much.
        measured_bytes: peak memory of a real step; None where it was not tried, or did not fit.
        free_bytes: memory there is for it; None where the system does not say.
        largest_part: most images at a time that fit by the same line; None without a limit.
        advised_parts: the fewest parts (`train.accumulate`) with which a step fits; None where none does.
        step_seconds: median of ordinary steps, reading included; None where they do not fit.
        steps: of the first epoch.
        epochs: of the training.
        shared_bytes: needed in /dev/shm by the loader processes.
        shared_free_bytes: what is free there; None where there is none.
        num_images: to learn from.
        validation_seconds: of one validation, from a few images by untrained weights; None without any.
        validations: how many there are, that of the best weights at the end included.
    """

    device: str
    precision: str
    batch_size: int
    parts: int
    predicted_bytes: int | None
    measured_bytes: int | None
    free_bytes: int | None
    largest_part: int | None
    advised_parts: int | None
    step_seconds: float | None
    steps: int
    epochs: int
    shared_bytes: int
    shared_free_bytes: int | None
    num_images: int
    validation_seconds: float | None = None
    validations: int = 0

    @property
    def epoch_seconds(self) -> float | None:
        """Time of an epoch's steps; None where they do not fit."""
        return None if self.step_seconds is None else self.step_seconds * self.steps

    @property
    def total_seconds(self) -> float | None:
        """Time of the training with its validations; None where its steps do not fit."""
        if self.epoch_seconds is None:
            return None
        return self.epoch_seconds * self.epochs + (self.validation_seconds or 0.0) * self.validations

    @property
    def fits(self) -> bool:
        """Whether the training can be started as it is."""
        enough = self.free_bytes is None or (self.predicted_bytes or 0) <= SAFETY * self.free_bytes
        shared = self.shared_free_bytes is None or self.shared_bytes <= self.shared_free_bytes
        return self.measured_bytes is not None and enough and shared

    def to_json(self) -> dict[str, Any]:
        """Return the object that `--json` writes."""
        times = {"epoch_seconds": self.epoch_seconds, "total_seconds": self.total_seconds}
        return {"fits": self.fits, **vars(self), **times}

    def lines(self) -> list[str]:
        """Return what people read."""
        free = "" if self.free_bytes is None else f" of {shown_bytes(self.free_bytes)} free"
        predicted = "more" if self.predicted_bytes is None else shown_bytes(self.predicted_bytes)
        took = "did not fit" if self.measured_bytes is None else f"took {shown_bytes(self.measured_bytes)}"
        lines = [
            f"{counted(self.batch_size, 'image')} a step in {counted(self.parts, 'part')} "
            f"on {self.device}, {self.precision}",
            f"memory: {predicted} predicted{free}; the largest images {took}",
        ]
        if self.epoch_seconds is not None and self.total_seconds is not None:
            checked = "without validation"
            if self.validation_seconds is not None:
                one = _shown_time(self.validation_seconds)
                checked = f"and {counted(self.validations, 'validation')} of {one}"
            epoch, total = map(_shown_time, (self.epoch_seconds, self.total_seconds))
            lines.append(
                f"time: {self.step_seconds:.2f} s a step, {epoch} an epoch of {self.steps}, "
                f"{total} for {counted(self.epochs, 'epoch')} {checked}"
            )
        return lines + self._advice()

    def _advice(self) -> list[str]:
        lines = []
        if self.largest_part is not None:
            most = counted(self.largest_part, "image")
            if self.largest_part >= self.num_images:
                most = f"all {counted(self.num_images, 'image')}"
            lines.append(f"memory alone has room for {most} at a time")
        if self.shared_free_bytes is not None and self.shared_bytes > self.shared_free_bytes:
            lines.append(
                f"/dev/shm has {shown_bytes(self.shared_free_bytes)}, the loader processes need "
                f"{shown_bytes(self.shared_bytes)}: take fewer (data.workers), or give the container more"
            )
        if not self.fits and self.advised_parts is None:
            lines.append("not even one image fits: make the images smaller (data.resize.short_px)")
        elif not self.fits and self.advised_parts != self.parts:
            lines.append(
                f"train.accumulate={self.advised_parts} works a step off in parts that fit, and learns alike"
            )
        return lines


def plan(config: Config | Mapping[str, Any] | str | Path) -> Plan | StagedPlan:
    """Predict memory and time of a training from small probes, then check the prediction with a real step.

    Args:
        config: of the training: a config; the content of a file as a mapping; or the path or the short name
            of a file.

    Raises:
        UserError: the data cannot be read, or the training has steps of several kinds.
    """
    config = as_config(config)
    train, family = config.train, family_of(config.detector)
    if not isinstance(train, GradientConfig | StagedConfig):
        raise UserError(f"train.type: {train.type} has stages of its own; plan is for train.type: gradient")
    train_set, _ = open_training_set(config.data)
    val_set = None if config.data.val is None else open_validation_set(config.data)
    warn_of_untrained(train_set.annotations)
    with session(config, trains=True) as run:
        proposals = config.detector.external_proposals
        task = task_of(
            config,
            run,
            attach_proposals(proposals, train_set, "train"),
            None if val_set is None else attach_proposals(proposals, val_set, "val"),
        )
        model = task.build(task.detector, task.num_classes, task.seed, pretrained=False)
        model.to(run.device).train()
        if isinstance(train, GradientConfig):
            return _plan_gradient(task, train, model)
        assert family.fine_tune_batches is not None
        return _plan_staged(task, train, model, family.fine_tune_batches)


def _plan_gradient(task: Task, train: GradientConfig, model: nn.Module) -> Plan:
    run, part = task.session, -(-train.batch_size // train.accumulate)
    optimizer, _ = build_optimizer(train.optimizer, model, batch_size=train.batch_size)
    probe = MemoryProbe.of(
        run,
        model,
        optimizer,
        task.train_set,
        train_transforms(task.data),
        min(train.batch_size, task.train_set.annotations.num_images),
        task.seed,
    )
    free, line = free_bytes(run.device), probe.line(part)
    affordable = None if free is None else line.most(SAFETY * free)
    measured = probe.step.peak(probe.batch(part)) if affordable is None or part <= affordable else None
    loader, fits = task.train_loader(train.batch_size), measured is not None
    return Plan(
        device=str(run.device),
        precision=run.precision_name,
        batch_size=train.batch_size,
        parts=train.accumulate,
        predicted_bytes=int(line(part)) if line.known else None,
        measured_bytes=measured,
        free_bytes=free,
        largest_part=affordable,
        advised_parts=_parts(train.batch_size, affordable),
        step_seconds=_seconds(probe.step, loader.epoch(0), train.accumulate, run.threads) if fits else None,
        steps=loader.num_steps(0),
        epochs=train.epochs,
        shared_bytes=probe.shared_bytes(train.batch_size),
        shared_free_bytes=shared_bytes() if run.workers else None,
        num_images=task.train_set.annotations.num_images,
        validation_seconds=_validation_seconds(task, model) if fits else None,
        validations=_validations(train) if task.val_set is not None else 0,
    )


def _plan_staged(task: Task, how: StagedConfig, model: nn.Module, batches: Batches) -> StagedPlan:
    detector, tuned, run = cast(RegionDetector, model), how.fine_tune, task.session
    seconds, peak = None, None
    if tuned is not None:
        step = Step(run, model, new_layer_optimizer(tuned, detector))
        seconds, peak = measure_steps(
            step, batches(task, tuned, detector), tuned.steps, tuned.accumulate, run.threads
        )
    reader = RegionReader.of(run, model.eval(), task.train_set, eval_transforms(task.data))
    return StagedPlan(
        device=str(run.device),
        precision=run.precision_name,
        num_images=len(reader.regions),
        num_regions=int(reader.regions.counts().sum()),
        step_seconds=seconds,
        steps=tuned.steps if tuned else 0,
        step_bytes=peak,
        free_bytes=free_bytes(run.device),
        regions_per_second=regions_per_second(reader),
        cache_bytes=cached_bytes(task, how, reader),
        disk_free_bytes=shutil.disk_usage(Path()).free,
    )


def _seconds(step: Step, batches: Iterable[TrainBatch], parts: int, threads: Threads) -> float:
    """Return the median of a few steps, with the number of threads that a training would choose."""
    times: list[float] = []
    settled_at, tuner = None, threads.of("training")
    start = time.perf_counter()
    for batch in tuner.over(batches, amount_of):
        step(batch, parts)
        times.append(time.perf_counter() - start)
        if tuner.is_settled and settled_at is None:
            settled_at = len(times)  # the first step, which warms up, or the first with the number chosen
        if settled_at is not None and len(times) == settled_at + TIMED_STEPS:
            break
        start = time.perf_counter()
    return float(np.median(times[settled_at or 0 :] or times))


def _validation_seconds(task: Task, model: nn.Module) -> float | None:
    """Return how long all validation images take, by the fastest of a few batches; None without any."""
    if task.val_set is None:
        return None
    run, size = task.session, task.evaluate.batch_size
    images = DetectionDataset.of(task.val_set, eval_transforms(task.data), task.seed)
    loader = EvalLoader(images, batch_size=size, workers=0, pin_memory=run.pin_memory)
    few = run.threads.of("detection").over(islice(loader, TIMED_STEPS + 1), lambda b: b[0].pixels.numel())
    each = [detect_set(model, [batch], device=run.device, precision=run.precision)[1] for batch in few]
    return min(one.seconds / one.num_images for one in each) * task.val_set.annotations.num_images


def _validations(train: GradientConfig) -> int:
    """Return how many validations a training has: those of its epochs, and the best weights' at the end."""
    every = train.validate_every
    return (-(-train.epochs // every) if every else 1) + 1


def _parts(batch_size: int, affordable: int | None) -> int | None:
    if affordable == 0:
        return None
    return 1 if affordable is None else min(-(-batch_size // affordable), MOST_PARTS)


def _shown_time(seconds: float) -> str:
    minutes, hours = seconds / 60, seconds / 3600
    return (
        f"{hours:.1f} h" if hours >= 1.5 else f"{minutes:.1f} min" if minutes >= 1.5 else f"{seconds:.0f} s"
    )
