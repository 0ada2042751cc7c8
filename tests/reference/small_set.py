"""A labelled dataset of a few flat-coloured images, and what a test may want its pixels to do."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detkit.annotations.assembly import Assembly
from detkit.annotations.dataset import AnnotationSet
from detkit.data.datasets.index import Index
from detkit.errors import UserError

CLASSES = ("cat", "dog", "emu")
SIZES = ((20, 30), (24, 16), (20, 20), (18, 40), (30, 12), (16, 32), (28, 14))


def small_set(sizes: tuple[tuple[int, int], ...] = SIZES) -> AnnotationSet:
    """Return images of these sizes; image i has i % 3 objects, labelled 0, 1, 2, 0, ... in turn."""
    assembly = Assembly("voc")
    count = 0
    for image, size in enumerate(sizes):
        assembly.add_image(f"image{image}.jpg", size, f"image{image}.xml")
        for number in range(image % 3):
            assembly.add_object(CLASSES[count % 3], (1 + number, 2, 8 + number, 9), difficult=count % 2 == 1)
            count += 1
    return assembly.build("/photos", CLASSES, assembly.labels(CLASSES), (1, 2, 3))


@dataclass(frozen=True)
class FlatPixels:
    """Image i has the value 10 i everywhere; images in `broken` are refused, `deadly` ends its process."""

    index: Index
    broken: tuple[int, ...] = ()
    deadly: int = -1

    def __call__(self, image: int) -> NDArray[np.uint8]:
        if image in self.broken:
            raise UserError(f"image{image}.jpg: the file is truncated")
        if image == self.deadly:
            os.kill(os.getpid(), signal.SIGKILL)
        return np.full((*self.index.size(image), 3), 10 * image, dtype=np.uint8)


class Touching:
    """A map-style dataset that reports where its index lies and leaves a mark in it."""

    def __init__(self, index: Index) -> None:
        self.index = index

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, image: int) -> tuple[bool, str, list[list[float]]]:
        boxes = self.index.target(image).boxes.tolist()
        self.index.boxes[0, 0] = 77.0
        tensors = (*vars(self.index).values(), self.index.paths.data, self.index.paths.offsets)
        shared = all(each.is_shared() for each in tensors if hasattr(each, "is_shared"))
        return shared, self.index.path(image), boxes


def as_is(batch: list[object]) -> list[object]:
    """Return what came; a collate function that a spawned worker can import."""
    return batch
