"""Regions of many images, each cut out of its own, as one batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from detkit.ops.warp import Cuts, plan_warp
from detkit.structures import ImageBatch, TrainBatch


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

    unit: ClassVar[str] = "regions"
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

    def pin_memory(self) -> RegionBatch:
        """Return the batch with its pixels in page-locked memory; the loader calls this for CUDA."""
        return replace(self, table=self.table.pin_memory())

    def to(self, device: torch.device) -> RegionBatch:
        """Return the same batch on `device`."""
        return replace(
            self,
            table=self.table.to(device, non_blocking=True),
            cuts=self.cuts.to(device),
            labels=self.labels.to(device, non_blocking=True),
        )


def cut_regions(
    images: ImageBatch,
    labels: Sequence[Tensor],
    *,
    size: int = 227,
    context_px: int = 16,
    square: bool = False,
) -> RegionBatch:
    """Return all proposals of some images as one batch of R-CNN's fine-tuning.

    Args:
        images: uint8 RGB with (P_i, 4) proposals of each.
        labels: (P_i,) int64 class of each proposal, K for background.
        size: side of a crop in pixels.
        context_px: pixels around a region, measured in the crop.
        square: cut out the square around a region instead of stretching it to one.
    """
    assert images.proposals is not None, "there are no proposals to cut out"
    height, width = images.pixels.shape[2:]
    cuts = []
    for number, (boxes, image) in enumerate(zip(images.proposals, images.sizes, strict=True)):
        plan = plan_warp(boxes.cpu().numpy(), image, size, context_px, square=square)
        cuts.append(Cuts.in_image(plan, width, number * height * width))
    joined = Cuts(*(torch.cat(parts) for parts in zip(*(vars(cut).values() for cut in cuts), strict=True)))
    numbers = tuple(number for number, cut in enumerate(cuts) for _ in range(len(cut)))
    table = images.pixels.permute(0, 2, 3, 1).reshape(-1, 3)
    return RegionBatch(table, joined, torch.cat([*labels]), numbers)


Batch = TrainBatch | RegionBatch
"""Batch of a training step: whole images, or regions cut out of many."""


def amount_of(batch: Batch) -> int:
    """Return how much work a batch is: its pixels, or the number of its regions, which are of one size."""
    return batch.images.pixels.numel() if isinstance(batch, TrainBatch) else len(batch)
