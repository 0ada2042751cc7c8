"""`detkit plan` for a training in stages: what each takes, measured on a few regions."""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from detkit.build.data import open_training_set
from detkit.build.detector import build_detector
from detkit.build.training import build_optimizer
from detkit.config.decision import SVMDecision
from detkit.config.schema import Config
from detkit.config.staged import FineTune, Staged
from detkit.training.memory import free_bytes, shown_bytes
from detkit.workflows.fine_tune_batches import fine_tune_batches
from detkit.workflows.fine_tune_regions import as_gradient
from detkit.workflows.memory_probe import Step
from detkit.workflows.region_reader import RegionReader
from detkit.workflows.region_vectors import CachedVectors
from detkit.workflows.session import Session, session
from detkit.workflows.task import Task
from detkit.workflows.where_to_look import told_where_to_look

TIMED_STEPS = 3
TIMED_IMAGES = 2
SAFETY = 0.9  # share of the free memory that a step may take


@dataclass(frozen=True)
class StagedPlan:
    """What a training in stages takes, in bytes and seconds.

    Attributes:
        device: where it runs.
        precision: what it computes in.
        num_images: images to learn from.
        num_regions: their regions.
        step_seconds: median of fine-tuning's steps, reading included; None where left out or too large.
        steps: of the fine-tuning; 0 where it is left out.
        step_bytes: peak memory of a step; None likewise.
        free_bytes: memory there is for it; None where the system does not say.
        regions_per_second: rate at which the network reads the regions of an image.
        cache_bytes: features on the disk; 0 without a cache.
        disk_free_bytes: what is free where runs are kept.
    """

    device: str
    precision: str
    num_images: int
    num_regions: int
    step_seconds: float | None
    steps: int
    step_bytes: int | None
    free_bytes: int | None
    regions_per_second: float
    cache_bytes: int
    disk_free_bytes: int

    @property
    def fits(self) -> bool:
        """Whether the training can be started as it is."""
        stepped = not self.steps or self.step_bytes is not None
        enough = self.free_bytes is None or (self.step_bytes or 0) <= SAFETY * self.free_bytes
        return stepped and enough and self.cache_bytes <= self.disk_free_bytes

    @property
    def fine_tune_seconds(self) -> float | None:
        """Time of the fine-tuning; None where it is not known."""
        return None if self.step_seconds is None else self.step_seconds * self.steps

    @property
    def feature_seconds(self) -> float:
        """Time in which the network reads all regions once."""
        return self.num_regions / self.regions_per_second

    def to_json(self) -> dict[str, Any]:
        """Return the object that `--json` writes."""
        return {
            "fits": self.fits,
            **vars(self),
            "fine_tune_seconds": self.fine_tune_seconds,
            "feature_seconds": self.feature_seconds,
        }

    def lines(self) -> list[str]:
        """Return what people read."""
        told = [
            f"{self.num_regions:,} regions in {self.num_images:,} images, on {self.device}, {self.precision}"
        ]
        if self.steps and self.fine_tune_seconds is not None and self.step_bytes is not None:
            told.append(
                f"fine_tune: {self.step_seconds:.2f} s a step, {_hours(self.fine_tune_seconds)} for "
                f"{self.steps:,} steps; a step takes {shown_bytes(self.step_bytes)}"
            )
        elif self.steps:
            told.append("fine_tune: a step does not fit into memory; train.fine_tune.accumulate=2 halves it")
        told.append(
            f"features: {self.regions_per_second:.0f} regions/s, {_hours(self.feature_seconds)}; "
            f"{shown_bytes(self.cache_bytes)} on the disk, which has {shown_bytes(self.disk_free_bytes)}"
        )
        if self.cache_bytes > self.disk_free_bytes:
            told.append("train.cache=none computes features when they are needed and keeps none")
        return [*told, "svms and box_regression: depends on how many negatives turn out to be hard"]


def plan_staged(config: Config, how: Staged) -> StagedPlan:
    """Measure a few steps and the regions of a few images, and work out the rest.

    Args:
        config: the training.
        how: its `train`.

    Raises:
        UserError: the data cannot be read.
    """
    learned, _ = open_training_set(config.data)
    with session(config, trains=True) as run:
        learned = told_where_to_look(config.detector, learned, "train")
        model = build_detector(config.detector, len(config.data.classes), config.seed, pretrained=False)
        model.to(run.device).train()
        task = Task(run, learned, None, Path(), resume=False)
        seconds, peak = _steps(run, model, task, how.fine_tune) if how.fine_tune else (None, None)
        reader = RegionReader.of(run, model.eval(), learned)
        return StagedPlan(
            device=str(run.device),
            precision="fp32" if run.precision is None else str(run.precision)[6:],
            num_images=len(reader.regions),
            num_regions=int(reader.regions.counts().sum()),
            step_seconds=seconds,
            steps=how.fine_tune.steps if how.fine_tune else 0,
            step_bytes=peak,
            free_bytes=free_bytes(run.device),
            regions_per_second=_rate(reader),
            cache_bytes=_cache_bytes(reader, config, how),
            disk_free_bytes=shutil.disk_usage(Path()).free,
        )


def _steps(run: Session, model: nn.Module, task: Task, spec: FineTune) -> tuple[float | None, int | None]:
    step = Step(run, model, build_optimizer(as_gradient(spec), model)[0])
    loader = fine_tune_batches(task, spec, model)
    peaks: list[int | None] = []

    def seconds() -> float:
        times, batches = [], iter(loader(0, 0))
        for _ in range(min(TIMED_STEPS + 1, spec.steps)):
            start = time.perf_counter()
            peaks.append(step.peak(next(batches), spec.accumulate))
            times.append(time.perf_counter() - start)
            if peaks[-1] is None:
                break
        return float(np.median(times[1:] or times))

    least = run.threads.least(seconds)
    return (least, peaks[-1]) if None not in peaks else (None, None)


def _rate(reader: RegionReader) -> float:
    count, seconds = 0, 0.0
    for image in range(min(TIMED_IMAGES + 1, len(reader.regions))):
        start = time.perf_counter()
        count = len(reader.together(image)[0])
        seconds = time.perf_counter() - start  # of the last image: the first ones warm up
    return count / max(seconds, 1e-9)


def _cache_bytes(reader: RegionReader, config: Config, how: Staged) -> int:
    detector: Any = config.detector
    if how.cache == "none":
        return 0
    regression = detector.box_regression
    return CachedVectors(
        Path(),
        reader,
        how.cache,
        min_iou=regression.min_iou if regression else None,
        for_svms=isinstance(detector.head, SVMDecision),
    ).num_bytes


def _hours(seconds: float) -> str:
    return f"{seconds / 3600:.1f} h" if seconds >= 5400 else f"{seconds / 60:.1f} min"
