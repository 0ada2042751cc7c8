"""Collation of samples of different sizes into one padded batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from detkit.data.loading.samples import Sample
from detkit.structures import ImageBatch, Target, TrainBatch

_BATCH = 3  # keeps these seeds apart from the streams of order and augmentation


def collate(samples: Sequence[Sample], seed: int) -> TrainBatch:
    """Return samples of one epoch as a batch, padded at the right and bottom with 0.

    Args:
        samples: at least one.
        seed: of the training; `TrainBatch.seed` comes from it and the epoch.

    Returns:
        A batch with pixels of the samples' type, channels-last in memory.
    """
    sizes = tuple((sample.image.shape[1], sample.image.shape[2]) for sample in samples)
    height, width = (max(sides) for sides in zip(*sizes, strict=True))
    pixels = torch.empty((len(samples), height, width, 3), dtype=samples[0].image.dtype)
    for place, sample, (h, w) in zip(pixels, samples, sizes, strict=True):
        place[:h, :w] = sample.image.permute(1, 2, 0)
        place[h:] = 0
        place[:h, w:] = 0
    targets = tuple(sample.target for sample in samples)
    originals = tuple(sample.original for sample in samples)
    images = ImageBatch(pixels.permute(0, 3, 1, 2), sizes, originals, _proposals(targets))
    (batch_seed,) = np.random.SeedSequence([_BATCH, seed, samples[0].epoch]).generate_state(1)
    return TrainBatch(images, targets, int(batch_seed))


def _proposals(targets: Sequence[Target]) -> tuple[Tensor, ...] | None:
    given = tuple(target.proposals for target in targets if target.proposals is not None)
    assert len(given) in (0, len(targets)), "proposals for some images of a batch only"
    return given or None


@dataclass(frozen=True)
class PackedBatch:
    """A batch on its way from a loader worker.

    Each tensor that leaves a worker costs an open file, of which a system allows about a thousand.
    So only the pixels travel as a tensor, and the many small ones of the targets as arrays.

    Attributes:
        images: the padded images, without proposals, which travel in `targets`.
        targets: the fields of the target of each.
        seed: of the batch.
    """

    images: ImageBatch
    targets: tuple[dict[str, Any], ...]
    seed: int

    @staticmethod
    def of(batch: TrainBatch) -> PackedBatch:
        """Return a batch made ready to travel."""
        targets = tuple(
            {name: _as_array(value) for name, value in vars(target).items()} for target in batch.targets
        )
        return PackedBatch(replace(batch.images, proposals=None), targets, batch.seed)

    def unpack(self) -> TrainBatch:
        """Return the batch as it was."""
        targets = tuple(
            Target(**{name: _as_tensor(value) for name, value in fields.items()}) for fields in self.targets
        )
        return TrainBatch(replace(self.images, proposals=_proposals(targets)), targets, self.seed)

    def pin_memory(self) -> PackedBatch:
        """Return the packed with its pixels in page-locked memory; the loader calls this for CUDA."""
        return replace(self, images=replace(self.images, pixels=self.images.pixels.pin_memory()))


def _as_array(value: Any) -> Any:
    return value.numpy() if isinstance(value, Tensor) else value


def _as_tensor(value: Any) -> Any:
    return torch.from_numpy(value) if isinstance(value, np.ndarray) else value
