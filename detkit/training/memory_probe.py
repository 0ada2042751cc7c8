"""Small steps of a training that tell what larger ones will take."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.amp import GradScaler
from torch.optim import Optimizer

from detkit.data.datasets.index import Index
from detkit.data.datasets.source import Source
from detkit.data.loading.batching import collate
from detkit.data.loading.samples import DetectionDataset, Key
from detkit.data.regions.batch import Batch
from detkit.data.transforms.geometric import Transform
from detkit.runtime.memory import forget_peak, is_out_of_memory, peak_bytes
from detkit.runtime.session import Session
from detkit.structures import TrainBatch
from detkit.training.loop.fit import backward

SAFETY = 0.9  # fraction of the free memory that a training may take
READ_AHEAD = 2  # batches that each loader process holds ready (torch's default)


class Step:
    """One step of a training, without a consequence for the weights.

    Args:
        session: where it runs.
        model: what is trained, on the session's device.
        optimizer: its update rule.
    """

    def __init__(self, session: Session, model: nn.Module, optimizer: Optimizer) -> None:
        self.session, self.model, self.optimizer = session, model, optimizer

    def __call__(self, batch: Batch, parts: int = 1) -> None:
        """Process a batch in so many parts."""
        self.optimizer.zero_grad(set_to_none=True)
        scaler = GradScaler("cuda", enabled=False)
        backward(self.model, batch.to(self.session.device), scaler, self.session.precision, parts)
        for group in self.optimizer.param_groups:
            group["lr"] = 0.0
        self.optimizer.step()  # its running means take memory, too
        if self.session.device.type == "cuda":
            torch.cuda.synchronize(self.session.device)

    def peak(self, batch: Batch, parts: int = 1) -> int | None:
        """Return the peak memory of a step in bytes, None where it did not fit."""
        forget_peak(self.session.device)
        try:
            self(batch, parts)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            return None
        return peak_bytes(self.session.device)


@dataclass(frozen=True)
class Line:
    """Memory as a straight line over the number of images."""

    fixed: float
    per_image: float

    def __call__(self, num_images: int) -> float:
        """Return the bytes for so many images."""
        return self.fixed + self.per_image * num_images

    @property
    def known(self) -> bool:
        """Whether even one image could be tried."""
        return math.isfinite(self.fixed)

    def most(self, limit: float) -> int:
        """Return how many images stay within so many bytes."""
        if not self.known:
            return 0
        return max(0, int((limit - self.fixed) // max(self.per_image, 1.0)))


@dataclass(frozen=True)
class MemoryProbe:
    """Steps on the largest images of a dataset, which tell what a training takes.

    Attributes:
        session: where it runs.
        step: one step.
        batch: makes a batch of so many of the largest images, some more than once if need be.
    """

    session: Session
    step: Step
    batch: Callable[[int], TrainBatch]

    @staticmethod
    def of(
        session: Session,
        model: nn.Module,
        optimizer: Optimizer,
        source: Source,
        transforms: Sequence[Transform],
        count: int,
        seed: int = 0,
    ) -> MemoryProbe:
        """Return a probe.

        Args:
            session: where it runs.
            model: what is trained, on the session's device.
            optimizer: its update rule.
            source: the training images.
            transforms: what they go through.
            count: how many of the largest images to use.
            seed: seeds the augmentation.
        """
        index = Index.of(source.annotations)
        dataset = DetectionDataset(index, source.pixels, transforms, seed, source.proposals)
        areas = np.prod(source.annotations.sizes.astype(np.int64), axis=1)
        order = np.argsort(-areas, kind="stable")[:count].tolist()
        samples = [dataset[Key(0, image)] for image in order]
        return MemoryProbe(
            session,
            Step(session, model, optimizer),
            lambda wanted: collate([samples[i % len(samples)] for i in range(wanted)], seed),
        )

    def line(self, wanted: int) -> Line:
        """Return memory over the number of images, through two probes below `wanted` where there are any."""
        few = max(1, wanted // 4)
        more = max(few + 1, wanted // 2)
        self.step.peak(self.batch(few))  # the first step also pays for the optimizer's state
        first, second = self.step.peak(self.batch(few)), self.step.peak(self.batch(more))
        if first is None:
            return Line(math.inf, 0.0)
        if second is None:
            return Line(0.0, first / few)
        slope = max(0.0, (second - first) / (more - few))
        return Line(first - slope * few, slope)

    def shared_bytes(self, batch_size: int) -> int:
        """Return what the loader processes need of /dev/shm."""
        return self.session.workers * READ_AHEAD * self.batch(1).images.pixels.nbytes * batch_size
