"""Regions of many images, each cut out of its own, as one batch."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from detkit.ops.warp import Cuts
from detkit.structures import TrainBatch


@dataclass(frozen=True)
class RegionBatch:
    """R regions for a network that reads each by itself.

    Attributes:
        table: (P, 3) uint8 RGB pixels of all cuts, one after the other.
        cuts: where in the table each region's cut lies, and where it lands in its crop.
        labels: (R,) int64 class, K for background.
        numbers: index in the dataset of the image of each.
        seed: seeds what the network does at random.
    """

    table: Tensor
    cuts: Cuts
    labels: Tensor
    numbers: tuple[int, ...]
    seed: int = 0

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def device(self) -> torch.device:
        """Device of the pixels."""
        return self.table.device

    def part(self, start: int, stop: int) -> RegionBatch:
        """Return the regions from `start` to `stop`."""
        return replace(
            self,
            cuts=self.cuts.part(start, stop),
            labels=self.labels[start:stop],
            numbers=self.numbers[start:stop],
        )

    def content(self) -> dict[str, Any]:
        """Return plain values and tensors on the CPU, for a file that shows what went wrong."""
        cuts = {name: value.cpu() for name, value in vars(self.cuts).items()}
        return {"table": self.table.cpu(), "cuts": cuts, "labels": self.labels.cpu()}

    def to(self, device: torch.device) -> RegionBatch:
        """Return the same batch on `device`."""
        return replace(
            self,
            table=self.table.to(device, non_blocking=True),
            cuts=self.cuts.to(device),
            labels=self.labels.to(device, non_blocking=True),
        )


Batch = TrainBatch | RegionBatch
"""Batch of a training step: whole images, or regions cut out of many."""


def amount_of(batch: Batch) -> int:
    """Return how much work a batch is: its pixels, or the number of its regions, which are of one size."""
    return batch.images.pixels.numel() if isinstance(batch, TrainBatch) else len(batch)
