"""Cost of a training in stages, measured on a few regions."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from detkit.names import counted
from detkit.runtime.memory import shown_bytes
from detkit.runtime.threads import Threads
from detkit.training.memory_probe import SAFETY, Step
from detkit.training.staged.feature_store import RegionReader
from detkit.training.staged.fine_tune import Loader

TIMED_STEPS = 3
TIMED_IMAGES = 2


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
        lines = [
            f"{counted(self.num_regions, 'region')} in {counted(self.num_images, 'image')}, "
            f"on {self.device}, {self.precision}"
        ]
        if self.steps and self.fine_tune_seconds is not None and self.step_bytes is not None:
            lines.append(
                f"fine_tune: {self.step_seconds:.2f} s a step, {_hours(self.fine_tune_seconds)} for "
                f"{self.steps:,} steps; a step takes {shown_bytes(self.step_bytes)}"
            )
        elif self.steps:
            lines.append("fine_tune: a step does not fit into memory; train.fine_tune.accumulate=2 halves it")
        lines.append(
            f"features: {self.regions_per_second:.0f} regions/s, {_hours(self.feature_seconds)}; "
            f"{shown_bytes(self.cache_bytes)} on the disk, which has {shown_bytes(self.disk_free_bytes)}"
        )
        if self.cache_bytes > self.disk_free_bytes:
            lines.append("train.cache=none computes features when they are needed and keeps none")
        return [*lines, "svms and box_regression: depends on how many negatives turn out to be hard"]


def measure_steps(
    step: Step, batches: Loader, steps: int, accumulate: int, threads: Threads
) -> tuple[float | None, int | None]:
    """Return the median seconds of a few steps of a fine-tuning, and their peak memory in bytes.

    Args:
        step: one step.
        batches: of the fine-tuning, from a step on.
        steps: length of the fine-tuning.
        accumulate: in how many parts a step is processed.
        threads: the numbers of threads to choose from; the fastest counts.

    Returns:
        Both None where a step does not fit into memory.
    """
    peaks: list[int | None] = []

    def seconds() -> float:
        times, each = [], iter(batches(0, 0))
        for _ in range(min(TIMED_STEPS + 1, steps)):
            start = time.perf_counter()
            peaks.append(step.peak(next(each), accumulate))
            times.append(time.perf_counter() - start)
            if peaks[-1] is None:
                break
        return float(np.median(times[1:] or times))

    least = threads.least(seconds)
    return (None, None) if None in peaks else (least, peaks[-1])


def regions_per_second(reader: RegionReader) -> float:
    """Return the rate at which a network reads the regions of an image, measured on a few."""
    count, seconds = 0, 0.0
    for image in range(min(TIMED_IMAGES + 1, len(reader.regions))):
        start = time.perf_counter()
        count = len(reader.together(image)[0])
        seconds = time.perf_counter() - start  # of the last image: the first ones warm up
    return count / max(seconds, 1e-9)


def _hours(seconds: float) -> str:
    return f"{seconds / 3600:.1f} h" if seconds >= 5400 else f"{seconds / 60:.1f} min"
