"""Which regions a step of R-CNN's fine-tuning sees: drawn from all regions of all images alike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from detkit.errors import UserError

_REGIONS = 5  # keeps these random streams apart from those of the order and the augmentation
BACKGROUND, LEFT_OUT = -1, -2


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
class RegionDraw:
    """Draws regions with replacement: background first, then those with an object.

    Attributes:
        labels: (M,) int16 of the regions of all images, one image after the other: the class of the object
            each stands for, BACKGROUND or LEFT_OUT.
        offsets: (N + 1,) int64, where the regions of each image begin.
        with_object: (F,) int64 positions in `labels` of regions with an object.
        background: (B,) int64 positions of background.
        num: regions of a step.
        fg_fraction: this share of them has an object.
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
    ) -> RegionDraw:
        """Return a draw from labelled regions.

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
        return RegionDraw(labels, offsets, with_object, background, num, fg_fraction, flip, seed)

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
