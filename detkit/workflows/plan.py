"""`detkit plan`: what a training will take, before it is started."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from detkit.build.data import open_training_set
from detkit.build.detector import build_detector
from detkit.build.training import build_optimizer
from detkit.config.schema import Config
from detkit.config.staged import Staged
from detkit.config.training import Gradient
from detkit.data.index import Index
from detkit.errors import UserError
from detkit.runtime.threads import Threads
from detkit.structures import TrainBatch
from detkit.training.memory import free_bytes, shared_bytes, shown_bytes
from detkit.workflows.memory_probe import Line, Step, largest_images
from detkit.workflows.plan_staged import StagedPlan, plan_staged
from detkit.workflows.session import amount_of, session, training_loader
from detkit.workflows.where_to_look import told_where_to_look

TIMED_STEPS = 3
SAFETY = 0.9  # share of the free memory that a training may take
READ_AHEAD = 2  # batches that each loader process holds ready (torch's default)
MOST_PARTS = 64


@dataclass(frozen=True)
class Plan:
    """What a training takes, in bytes and seconds.

    Attributes:
        device: where it runs.
        precision: what it computes in.
        batch_size: images of a step.
        parts: in how many parts a step is worked off.
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

    @property
    def fits(self) -> bool:
        """Whether the training can be started as it is."""
        enough = self.free_bytes is None or (self.predicted_bytes or 0) <= SAFETY * self.free_bytes
        shared = self.shared_free_bytes is None or self.shared_bytes <= self.shared_free_bytes
        return self.measured_bytes is not None and enough and shared

    def to_json(self) -> dict[str, Any]:
        """Return the object that `--json` writes."""
        epoch = None if self.step_seconds is None else self.step_seconds * self.steps
        return {
            "fits": self.fits,
            **vars(self),
            "epoch_seconds": epoch,
            "total_seconds": None if epoch is None else epoch * self.epochs,
        }

    def lines(self) -> list[str]:
        """Return what people read."""
        free = "" if self.free_bytes is None else f" of {shown_bytes(self.free_bytes)} free"
        predicted = "more" if self.predicted_bytes is None else shown_bytes(self.predicted_bytes)
        took = "did not fit" if self.measured_bytes is None else f"took {shown_bytes(self.measured_bytes)}"
        told = [
            f"{self.batch_size} images a step in {self.parts} part(s) on {self.device}, {self.precision}",
            f"memory: {predicted} predicted{free}; the largest images {took}",
        ]
        if self.step_seconds is not None:
            epoch = self.step_seconds * self.steps
            told.append(
                f"time: {self.step_seconds:.2f} s a step, {_shown_time(epoch)} an epoch of {self.steps}, "
                f"{_shown_time(epoch * self.epochs)} for {self.epochs} epochs without validation"
            )
        return told + self._advice()

    def _advice(self) -> list[str]:
        told = []
        if self.largest_part is not None:
            told.append(f"at most {self.largest_part} images fit at a time")
        if self.shared_free_bytes is not None and self.shared_bytes > self.shared_free_bytes:
            told.append(
                f"/dev/shm has {shown_bytes(self.shared_free_bytes)}, the loader processes need "
                f"{shown_bytes(self.shared_bytes)}: take fewer (data.workers), or give the container more"
            )
        if not self.fits and self.advised_parts is None:
            told.append("not even one image fits: make the images smaller (data.resize.short_px)")
        elif not self.fits and self.advised_parts != self.parts:
            told.append(
                f"train.accumulate={self.advised_parts} works a step off in parts that fit, and learns alike"
            )
        return told


def plan(config: Config) -> Plan | StagedPlan:
    """Predict memory and time of a training from small probes, then check the prediction with a real step.

    Args:
        config: the training.

    Raises:
        UserError: the data cannot be read, or the training is not by gradient.
    """
    train = config.train
    if isinstance(train, Staged):
        return plan_staged(config, train)
    if not isinstance(train, Gradient):
        raise UserError(f"train.type: {train.type} has stages of its own; plan is for train.type: gradient")
    learned, _ = open_training_set(config.data)
    with session(config, trains=True) as run:
        learned = told_where_to_look(config.detector, learned, "train")
        model = build_detector(config.detector, len(config.data.classes), config.seed, pretrained=False)
        model.to(run.device).train()
        step = Step(run, model, build_optimizer(train, model)[0])
        images = largest_images(config, learned, min(train.batch_size, learned.annotations.num_images))
        free, part = free_bytes(run.device), -(-train.batch_size // train.accumulate)
        line = Line.through(step, images, part)
        affordable = None if free is None else line.most(SAFETY * free)
        measured = step.peak(images(part)) if affordable is None or part <= affordable else None
        index = Index.of(learned.annotations)
        loader = training_loader(
            config, learned, index, batch_size=train.batch_size, workers=run.workers, pin_memory=False
        )
        fits = measured is not None
        return Plan(
            device=str(run.device),
            precision="fp32" if run.precision is None else str(run.precision)[6:],
            batch_size=train.batch_size,
            parts=train.accumulate,
            predicted_bytes=int(line(part)) if line.known else None,
            measured_bytes=measured,
            free_bytes=free,
            largest_part=affordable,
            advised_parts=_parts(train.batch_size, affordable),
            step_seconds=_seconds(step, loader.epoch(0), train.accumulate, run.threads) if fits else None,
            steps=loader.num_steps(0),
            epochs=train.epochs,
            shared_bytes=run.workers * READ_AHEAD * images(train.batch_size).images.pixels.nbytes,
            shared_free_bytes=shared_bytes() if run.workers else None,
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


def _parts(batch_size: int, affordable: int | None) -> int | None:
    if affordable == 0:
        return None
    return 1 if affordable is None else min(-(-batch_size // affordable), MOST_PARTS)


def _shown_time(seconds: float) -> str:
    minutes, hours = seconds / 60, seconds / 3600
    return (
        f"{hours:.1f} h" if hours >= 1.5 else f"{minutes:.1f} min" if minutes >= 1.5 else f"{seconds:.0f} s"
    )
