"""What is embedded of a dataset: its labelled objects, or its whole images."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from detkit.annotations.coordinates import to_corners
from detkit.annotations.dataset import AnnotationSet

NO_CLASS = -1
"""The label of an image with no objects, or with those of several classes."""


@dataclass(frozen=True)
class Items:
    """N objects, or whole images, in the order of their images.

    Attributes:
        images: (N,) int64 image of the set that each is in.
        boxes: (N, 4) float64 corner boxes in pixels of the file, within the image.
        labels: (N,) int64 classes; NO_CLASS where there is none.
        objects: (N,) int64 row of the object in the set; -1 for a whole image.
    """

    images: NDArray[np.int64]
    boxes: NDArray[np.float64]
    labels: NDArray[np.int64]
    objects: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.images)

    def of(self, rows: NDArray[np.int64]) -> Items:
        """Return some of them."""
        return Items(**{field.name: getattr(self, field.name)[rows] for field in fields(self)})

    def sample(self, limit: int | None, seed: int) -> Items:
        """Return at most so many, chosen by chance, in the same order."""
        if limit is None or limit >= len(self):
            return self
        chosen = np.random.default_rng(seed).choice(len(self), limit, replace=False)
        return self.of(np.sort(chosen))


def objects_of(truth: AnnotationSet) -> Items:
    """Return the objects of a set that are neither difficult nor a crowd and lie in their image.

    Args:
        truth: a set whose images have sizes.
    """
    owner = truth.image_index()
    sides = np.tile(truth.sizes[owner, ::-1], 2)
    corners = np.clip(to_corners(truth.boxes, truth.box_format), 0, sides)
    with np.errstate(invalid="ignore"):  # a coordinate that is no number has no area
        visible = (corners[:, 2:] > corners[:, :2]).all(axis=1)
    rows = np.flatnonzero(visible & ~(truth.difficult | truth.crowd))
    return Items(owner[rows], corners[rows], truth.labels[rows].astype(np.int64), rows)


def images_of(truth: AnnotationSet) -> Items:
    """Return the images of a set, each with the class that all of its objects have.

    Args:
        truth: a set whose images have sizes.
    """
    count = truth.num_images
    labels = np.full(count, NO_CLASS, dtype=np.int64)
    for image, (start, end) in enumerate(zip(truth.offsets[:-1], truth.offsets[1:], strict=True)):
        own = np.unique(truth.labels[start:end])
        if len(own) == 1:
            labels[image] = own[0]
    boxes = np.column_stack([np.zeros((count, 2)), truth.sizes[:, ::-1]]).astype(np.float64)
    return Items(np.arange(count), boxes, labels, np.full(count, -1))
