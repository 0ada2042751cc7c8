"""A dataset of images that all have one size, so that a batch has no padding, however it is put together."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detkit.annotations.dataset import select_images
from detkit.data.datasets.source import Source
from detkit.data.synthetic.dataset import SyntheticSet
from detkit.errors import UserError

SIDE_PX = 256


def square_images(classes: tuple[str, ...], num_images: int, broken: int | None = None) -> Source:
    """Return drawn images of SIDE_PX rows and columns; `broken` cannot be read."""
    drawn = SyntheticSet(100, 0, classes)
    annotations = drawn.annotations()
    chosen = np.flatnonzero((annotations.sizes == SIDE_PX).all(axis=1))[:num_images]
    assert len(chosen) == num_images
    return Source(select_images(annotations, chosen), Pixels(drawn, tuple(chosen.tolist()), broken))


@dataclass(frozen=True)
class Pixels:
    drawn: SyntheticSet
    chosen: tuple[int, ...]
    broken: int | None

    def __call__(self, image: int) -> NDArray[np.uint8]:
        if image == self.broken:
            raise UserError(f"square {image}: the file is truncated")
        return self.drawn.render(self.chosen[image])
