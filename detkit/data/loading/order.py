"""Order of training images: repeats, groups, batches and shards of an epoch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detkit.data.datasets.index import Index
from detkit.data.loading.samples import Key

_ORDER = 2  # keeps these random streams apart from those of the augmentation


def repeat_factors(index: Index, num_classes: int, threshold: float) -> NDArray[np.float64]:
    """Return how often each image should come in an epoch so that rare classes are seen.

    A class that a fraction f of the images holds gets max(1, sqrt(threshold / f)), an image the largest
    value of its classes, and an image without objects 1.

    Args:
        index: N images.
        num_classes: K.
        threshold: fraction of the images below which a class counts as rare; 0 repeats nothing.

    Returns:
        (N,) factors, at least 1.

    Reference: Gupta et al., LVIS: A Dataset for Large Vocabulary Instance Segmentation, CVPR 2019.
    """
    num_images = len(index)
    factors = np.ones(num_images)
    if threshold == 0 or num_images == 0:
        return factors
    owner = np.repeat(np.arange(num_images), np.diff(index.offsets.numpy()))
    present = np.unique(np.stack([owner, index.labels.numpy()]), axis=1)
    fraction = np.bincount(present[1], minlength=num_classes) / num_images
    of_class = np.maximum(1.0, np.sqrt(threshold / np.maximum(fraction, 1.0 / num_images)))
    np.maximum.at(factors, present[0], of_class[present[1]])
    return factors


def aspect_groups(index: Index) -> NDArray[np.int64]:
    """Return (N,) 0 for wide and square images and those of unknown size, 1 for tall ones."""
    sizes: NDArray[np.int32] = index.sizes.numpy()
    return (sizes[:, 0] > sizes[:, 1]).astype(np.int64)


@dataclass(frozen=True)
class Order:
    """The order of training images, from (seed, epoch) alone.

    An epoch is planned for all processes at once and then dealt out, so that step s of every
    process together reads what step s of a single process would. Batches hold images of one group.
    What is left over in the groups goes into mixed batches, the last of which may be short: no image
    is lost. Only when a short batch does not divide by the number of processes are images of that
    batch read twice, so that every process has as many.

    Attributes:
        repeats: (N,) how often each image comes in an epoch on average; fractions are rounded up or
            down at random, anew in each epoch.
        groups: (N,) group of each image.
        batch_size: images of one step over all processes; a multiple of `world_size`.
        seed: which order.
        rank: this process, from 0.
        world_size: number of processes.
    """

    repeats: NDArray[np.float64]
    groups: NDArray[np.int64]
    batch_size: int
    seed: int
    rank: int
    world_size: int

    def batches(self, epoch: int) -> list[list[Key]]:
        """Return the keys of every batch of this process in an epoch."""
        planned_images, planned_copies, bounds = self._plan(epoch)
        images, copies = planned_images.tolist(), planned_copies.tolist()
        batches = []
        for start, end in bounds:
            size = -(-(end - start) // self.world_size) * self.world_size
            rows = [start + place % (end - start) for place in range(self.rank, size, self.world_size)]
            batches.append([Key(epoch, images[row], copies[row]) for row in rows])
        return batches

    def num_steps(self, epoch: int) -> int:
        """Return the number of batches in an epoch, the same for every process."""
        return len(self._plan(epoch)[2])

    def _plan(self, epoch: int) -> tuple[NDArray[np.int64], NDArray[np.int64], list[tuple[int, int]]]:
        """Return the images and copies of the epoch in order, and the (start, end) rows of its batches."""
        rng = np.random.default_rng([_ORDER, self.seed, epoch])
        times = np.floor(self.repeats + rng.random(len(self.repeats))).astype(np.int64)
        images = np.repeat(np.arange(len(times)), times)
        copies = np.arange(len(images)) - np.repeat(np.cumsum(times) - times, times)
        shuffled = rng.permutation(len(images))
        groups = self.groups[images[shuffled]]
        whole, left = [], []
        for group in np.unique(groups):
            members = shuffled[groups == group]
            end = len(members) - len(members) % self.batch_size
            whole.append(members[:end])
            left.append(members[end:])
        rows = np.concatenate([*whole, *left, np.zeros(0, dtype=np.int64)])
        starts = rng.permutation(np.arange(0, len(rows), self.batch_size))
        bounds = [(start, min(start + self.batch_size, len(rows))) for start in starts.tolist()]
        return images[rows], copies[rows], bounds
