"""Annotations together with the pixels they belong to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from detkit.annotations.dataset import AnnotationSet, select_images
from detkit.annotations.image_files import image_paths
from detkit.data.images import decode_image

if TYPE_CHECKING:
    from detkit.data.datasets.index import Strings

Given = TypeVar("Given")


@dataclass(frozen=True)
class Source:
    """A labelled dataset that can be read.

    Attributes:
        annotations: N images and their objects.
        pixels: returns the (H, W, 3) uint8 RGB pixels of image i of `annotations`.
        proposals: returns the (P, 4) float32 corner boxes, in pixels of image i, where a detector is to
            look; None if it finds its own. Loader workers use it, so what it holds must be cheap to send.
    """

    annotations: AnnotationSet
    pixels: Callable[[int], NDArray[np.uint8]]
    proposals: Callable[[int], NDArray[np.float32]] | None = None

    def of(self, images: NDArray[np.int64]) -> Source:
        """Return some of the images, by their numbers, in the order asked for."""
        proposals = None if self.proposals is None else OfImages(self.proposals, images)
        return Source(select_images(self.annotations, images), OfImages(self.pixels, images), proposals)


@dataclass(frozen=True)
class OfImages(Generic[Given]):
    """What belongs to some images: `all_images`, asked by their places among them."""

    all_images: Callable[[int], Given]
    numbers: NDArray[np.int64]

    def __call__(self, image: int) -> Given:
        """Return what belongs to the image at a place."""
        return self.all_images(int(self.numbers[image]))


@dataclass(frozen=True)
class FilePixels:
    """Decodes image files by their number.

    Attributes:
        paths: N files.
    """

    paths: Strings

    def __call__(self, image: int) -> NDArray[np.uint8]:
        """Return the (H, W, 3) uint8 RGB pixels of a file.

        Raises:
            UserError: the file is missing or cannot be read.
        """
        return decode_image(Path(self.paths[image]))


def file_source(annotations: AnnotationSet) -> Source:
    """Return annotations together with the image files that they name, cheap to send to loader workers."""
    from detkit.data.datasets.index import Strings

    return Source(annotations, FilePixels(Strings.of(image_paths(annotations))))
