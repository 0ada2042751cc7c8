"""What happens to the images of a classifier: the label is that of the image, whatever is cut off."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms.v2 import functional

from detkit.structures import Target


@dataclass(frozen=True)
class ScaleCrop:
    """Resizes the short side to a random length and cuts a square out at a random place, in one step.

    Only the pixels of the square are resized, which gives what resizing everything first would, but for
    the rounding of the square to whole pixels of the file.

    Attributes:
        short_px: shortest and longest length of the short side.
        size_px: side of the square, at most the shortest length.

    Reference: Krizhevsky et al., NIPS 2012; the range of scales is He et al., CVPR 2016.
    """

    sets_size: ClassVar[bool] = True
    short_px: tuple[int, int]
    size_px: int

    def __call__(
        self, image: Tensor, target: Target, generator: np.random.Generator
    ) -> tuple[Tensor, Target]:
        """Return the square, and the target with the whole square as the box of each object."""
        low, high = self.short_px
        short_px = int(generator.integers(low, high, endpoint=True))
        height, width = image.shape[1:]
        side = max(1, round(self.size_px * min(height, width) / short_px))
        top = int(generator.integers(height - side, endpoint=True))
        left = int(generator.integers(width - side, endpoint=True))
        size = [self.size_px, self.size_px]
        square = functional.resized_crop(image, top, left, side, side, size, antialias=True)
        return square, of_whole_image(target, (self.size_px, self.size_px))


@dataclass(frozen=True)
class WholeImage:
    """Makes the image the box of its object; an image folder does not know its images' sizes."""

    def __call__(
        self, image: Tensor, target: Target, generator: np.random.Generator
    ) -> tuple[Tensor, Target]:
        """Return the image as it came, and the target with the whole image as the box of each object."""
        height, width = image.shape[1:]
        return image, of_whole_image(target, (height, width))


def of_whole_image(target: Target, size: tuple[int, int]) -> Target:
    """Return a target whose objects are all as large as the image.

    Args:
        target: the labels; its boxes do not matter.
        size: (height, width) of the image in pixels.
    """
    whole = torch.tensor([[0.0, 0.0, size[1], size[0]]])
    return replace(target, boxes=whole.repeat(len(target), 1))
