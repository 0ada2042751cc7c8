"""Loader of batches of sampled regions, each cut out of its image where the image is read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from detkit.data.datasets.index import Index
from detkit.data.loading.loaders import guarded_loader, read_batches
from detkit.data.loading.samples import DetectionDataset, Key
from detkit.data.regions.batch import RegionBatch
from detkit.errors import UserError
from detkit.ops.warp import Cuts, plan_warp
from detkit.runtime.processes import rank, world_size

_REGIONS = 5  # keeps these random streams apart from those of the order and the augmentation
BACKGROUND, LEFT_OUT = -1, -2


class PixelCache:
    """Cache of the first images read, up to a limit; nothing is evicted.

    Where images are drawn at random, whatever is kept serves as often as anything else would.

    Args:
        pixels: returns the (H, W, 3) uint8 RGB pixels of image i.
        limit_bytes: how much is kept.
    """

    def __init__(self, pixels: Callable[[int], NDArray[np.uint8]], limit_bytes: float) -> None:
        self._pixels, self._room = pixels, limit_bytes
        self._kept: dict[int, NDArray[np.uint8]] = {}

    def __call__(self, image: int) -> NDArray[np.uint8]:
        """Return the pixels of an image; they are not to be written to."""
        kept = self._kept.get(image)
        if kept is None:
            kept = self._pixels(image)
            if kept.nbytes <= self._room:
                self._kept[image] = kept
                self._room -= kept.nbytes
        return kept


@dataclass(frozen=True)
class Region:
    """A cut of an image, before it is resized.

    Attributes:
        pixels: (h, w, 3) uint8 RGB.
        place: (4,) x, y, width and height of what it becomes, in the crop.
        key: which region it is.
    """

    pixels: Tensor
    place: NDArray[np.int64]
    key: RegionKey


class RegionDataset(Dataset[Region]):
    """Regions of images by their keys.

    Args:
        images: the images, whose proposals are the regions.
        size: side of the crops that are made of them.
        context_px: pixels around each, measured in the crop.
        square: cut out the square around each.
    """

    def __init__(self, images: DetectionDataset, size: int, context_px: int, *, square: bool) -> None:
        self.images, self.size, self.context_px, self.square = images, size, context_px, square

    @property
    def index(self) -> Index:
        """The images."""
        return self.images.index

    def __getitem__(self, key: RegionKey) -> Region:
        """Return one region.

        Raises:
            UserError: its image cannot be read.
        """
        sample = self.images[Key(0, key.image)]
        assert sample.target.proposals is not None
        box = sample.target.proposals[key.row : key.row + 1].numpy()
        height, width = sample.image.shape[1:]
        plan = plan_warp(box, (height, width), self.size, self.context_px, square=self.square)
        x, y, w, h = plan.sources[0].tolist()
        cut = (
            sample.image[:, y : y + h, x : x + w]
            .permute(1, 2, 0)
            .clone(memory_format=torch.contiguous_format)
        )
        return Region(cut, plan.places[0], key)


class RegionLoader:
    """The batches of a fine-tuning, from any step on.

    Of several processes each gets regions rank, rank + world_size, ... of every step.

    Args:
        dataset: the regions.
        sampler: chooses those of each step.
        num_steps: how many steps there are.
        num_classes: K, the label of background.
        workers: processes that read ahead; 0 reads in this process.
    """

    def __init__(
        self,
        dataset: RegionDataset,
        sampler: RegionSampler,
        *,
        num_steps: int,
        num_classes: int,
        workers: int,
    ) -> None:
        self._keys = _StepKeys(sampler, num_steps)
        collate = partial(_collate, num_classes=num_classes)
        self._loader = guarded_loader(dataset, self._keys, collate, workers, pin_memory=False)

    def __call__(self, epoch: int, start_step: int) -> Iterator[RegionBatch]:
        """Yield the batches from a step on; all steps count as one epoch.

        Raises:
            UserError: an image cannot be read.
        """
        self._keys.start = start_step
        yield from read_batches(self._loader)


@dataclass
class _StepKeys:
    sampler: RegionSampler
    num_steps: int
    start: int = 0

    def __iter__(self) -> Iterator[list[RegionKey]]:
        for number in range(self.start, self.num_steps):
            yield self.sampler.step(number)[rank() :: world_size()]


def _collate(regions: Sequence[Region], num_classes: int) -> RegionBatch:
    sources = torch.tensor([(part.pixels.shape[1], part.pixels.shape[0]) for part in regions])
    areas = sources.prod(dim=1)
    cuts = Cuts(
        starts=torch.cumsum(areas, 0) - areas,
        strides=sources[:, 0].contiguous(),
        sources=sources,
        places=torch.from_numpy(np.stack([part.place for part in regions])),
        flipped=torch.tensor([part.key.flip for part in regions]),
    )
    labels = [num_classes if part.key.label == BACKGROUND else part.key.label for part in regions]
    table = torch.cat([part.pixels.view(-1, 3) for part in regions])
    return RegionBatch(table, cuts, torch.tensor(labels), tuple(part.key.image for part in regions))


class RegionKey(NamedTuple):
    """One region of a step.

    Attributes:
        image: index of its image.
        row: its place among the image's regions.
        label: its class, or BACKGROUND.
        flip: whether it is mirrored.
    """

    image: int
    row: int
    label: int
    flip: bool


@dataclass(frozen=True)
class RegionSampler:
    """Sampling of regions with replacement: background first, then those with an object.

    Attributes:
        labels: (M,) int16 of the regions of all images, one image after the other: the class of the object
            each stands for, BACKGROUND or LEFT_OUT.
        offsets: (N + 1,) int64, where the regions of each image begin.
        with_object: (F,) int64 positions in `labels` of regions with an object.
        background: (B,) int64 positions of background.
        num: regions of a step.
        fg_fraction: this fraction of them has an object.
        flip: how often a region is mirrored.
        seed: which regions.
    """

    labels: NDArray[np.int16]
    offsets: NDArray[np.int64]
    with_object: NDArray[np.int64]
    background: NDArray[np.int64]
    num: int
    fg_fraction: float
    flip: float
    seed: int

    @staticmethod
    def of(
        labels: NDArray[np.int16],
        offsets: NDArray[np.int64],
        *,
        num: int,
        fg_fraction: float,
        flip: float,
        seed: int,
    ) -> RegionSampler:
        """Return a sampler of labelled regions.

        Raises:
            UserError: no region has an object, or none is background.
        """
        with_object, background = np.flatnonzero(labels >= 0), np.flatnonzero(labels == BACKGROUND)
        if not len(with_object) or not len(background):
            raise UserError(
                f"train.fine_tune: of {len(labels)} regions {len(with_object)} have an object and "
                f"{len(background)} are background; both are needed, so the proposals must reach beyond the "
                "objects"
            )
        return RegionSampler(labels, offsets, with_object, background, num, fg_fraction, flip, seed)

    def step(self, number: int) -> list[RegionKey]:
        """Return the regions of a step, which depend on its number and the seed alone."""
        rng = np.random.default_rng([_REGIONS, self.seed, number])
        num_objects = round(self.num * self.fg_fraction)
        chosen = np.concatenate(
            [
                self.background[rng.integers(len(self.background), size=self.num - num_objects)],
                self.with_object[rng.integers(len(self.with_object), size=num_objects)],
            ]
        )
        flips = rng.random(self.num) < self.flip
        images = np.searchsorted(self.offsets, chosen, side="right") - 1
        rows = chosen - self.offsets[images]
        columns = images.tolist(), rows.tolist(), self.labels[chosen].tolist(), flips.tolist()
        return [RegionKey(*values) for values in zip(*columns, strict=True)]
