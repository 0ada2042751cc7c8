"""One image with its objects, augmented by chance that depends on nothing but its key."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from detkit.data.datasets.index import Index
from detkit.data.datasets.source import Source
from detkit.data.transforms.geometric import Transform, as_image
from detkit.errors import UserError
from detkit.structures import Target

_AUGMENTATION = 1  # keeps these random streams apart from those of the order


class Key(NamedTuple):
    """Key of a sample; it carries all that its chance depends on, so workers keep no state.

    Attributes:
        epoch: the pass over the data.
        image: index of the image.
        copy: 0, or 1, 2, ... for further appearances of a repeated image in the same epoch.
    """

    epoch: int
    image: int
    copy: int = 0


@dataclass(frozen=True)
class Sample:
    """One image as a detector is to see it.

    Attributes:
        image: (3, H, W) uint8 RGB.
        target: objects in the pixels of `image`.
        original: (height, width) of the image file in pixels.
        epoch: the pass over the data that it was read for.
    """

    image: Tensor
    target: Target
    original: tuple[int, int]
    epoch: int


class DetectionDataset(Dataset[Sample]):
    """N images with their objects; `dataset[Key(epoch, image)]` is the same sample in any process.

    Args:
        index: the annotations.
        pixels: returns the (H, W, 3) uint8 RGB pixels of image i. Loader workers that are spawned,
            as on macOS and Windows, need it to be picklable.
        transforms: applied in this order.
        seed: seeds every change together with the key.
        proposals: returns the (P, 4) float32 corner boxes of image i where the detector is to look; None
            if it finds its own. They travel through the transforms with the objects.
    """

    def __init__(
        self,
        index: Index,
        pixels: Callable[[int], NDArray[np.uint8]],
        transforms: Sequence[Transform],
        seed: int,
        proposals: Callable[[int], NDArray[np.float32]] | None = None,
    ) -> None:
        self.index = index
        self.pixels = pixels
        self.transforms = tuple(transforms)
        self.seed = seed
        self.proposals = proposals

    @staticmethod
    def of(source: Source, transforms: Sequence[Transform], seed: int) -> DetectionDataset:
        """Return the images of a source, with its proposals where it has some."""
        return DetectionDataset(
            Index.of(source.annotations), source.pixels, transforms, seed, source.proposals
        )

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, key: Key) -> Sample:
        """Return one sample.

        Raises:
            UserError: the image cannot be read, or has another size than its annotation says.
        """
        epoch, image_index, copy = key
        pixels = self.pixels(image_index)
        original = (pixels.shape[0], pixels.shape[1])
        self._check_size(image_index, original)
        image, target = as_image(pixels), self.index.target(image_index)
        if self.proposals is not None:
            # A copy: stored proposals are a read-only view of their file.
            target = replace(target, proposals=torch.tensor(self.proposals(image_index)))
        generator = np.random.default_rng([_AUGMENTATION, self.seed, epoch, image_index, copy])
        for transform in self.transforms:
            image, target = transform(image, target, generator)
        return Sample(image, target, original, epoch)

    def _check_size(self, image: int, decoded: tuple[int, int]) -> None:
        annotated = self.index.size(image)
        if annotated in (decoded, (0, 0)):
            return
        message = (
            f"{self.index.path(image)}: the image is {decoded[1]}x{decoded[0]} pixels (width x height), "
            f"but its annotation says {annotated[1]}x{annotated[0]}; "
        )
        if annotated == decoded[::-1]:
            message += (
                "the two are swapped, so its boxes were probably drawn before the camera's EXIF "
                "orientation was applied: turn the pixels for good and correct the boxes, or correct the size"
            )
        else:
            message += "correct the annotation or put the right image there"
        raise UserError(message)
