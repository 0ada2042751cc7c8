"""Transforms that set the size of an image, the last of every chain."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import cv2
import numpy as np
import torch
from PIL import Image
from PIL.Image import Resampling
from torch import Tensor
from torch.nn.functional import interpolate

from detkit.data.transforms.geometric import Transform, move, scaling
from detkit.structures import IMAGENET_MEAN, IMAGENET_STD, Target

NO_LIMIT = 1 << 30  # of the long side, in pixels
CAFFE_MEAN = (122.7717, 115.9465, 102.9801)
"""Mean of red, green and blue, of 0 to 255, that Fast and Faster R-CNN's programs subtract."""


@dataclass(frozen=True)
class Resize:
    """Brings the short side to a length, unless the long side would exceed its limit.

    The pixels are averaged where the image shrinks (antialiasing), bilinear where it grows, on
    uint8. Measured on one core, 640x480 to 800x600: 0.4 ms, as OpenCV's plain bilinear; 4000x3000
    to 800x600: 5.6 ms where OpenCV's area averaging takes 12.3 and its bilinear skips pixels.

    Attributes:
        short_px: lengths of the short side in pixels; one is drawn for each image.
        long_px: limit of the long side in pixels; none by default.
        normalises: whether pixels come as normalised float32 instead of uint8.
    """

    sets_size: ClassVar[bool] = True
    normalises: ClassVar[bool] = False
    short_px: tuple[int, ...]
    long_px: int = NO_LIMIT

    def __str__(self) -> str:
        limit = "" if self.long_px == NO_LIMIT else f", the long one at most {self.long_px}"
        return f"short side {' or '.join(map(str, self.short_px))} px{limit}"

    def __call__(
        self, image: Tensor, target: Target, generator: np.random.Generator
    ) -> tuple[Tensor, Target]:
        """Return the image and target at the new size."""
        short_px = self.short_px[int(generator.integers(len(self.short_px)))]
        height, width = image.shape[1:]
        size = resized(height, width, short_px, self.long_px)
        if size == (height, width):
            return image, target
        return self.resample(image, size), move(target, scaling(size[1] / width, size[0] / height), size)

    @staticmethod
    def resample(image: Tensor, size: tuple[int, int]) -> Tensor:
        """Return a (3, H, W) uint8 image at another (height, width)."""
        return _resampled(image, size)


def _resampled(image: Tensor, size: tuple[int, int]) -> Tensor:
    batch = image.permute(1, 2, 0)[None].permute(0, 3, 1, 2)  # keeps the layout, as image[None] does not
    return interpolate(batch, size, mode="bilinear", antialias=True)[0]


class ResizeLikeOpenCV(Resize):
    """Interpolates bytes without averaging them, as MMDetection does with OpenCV."""

    @staticmethod
    def resample(image: Tensor, size: tuple[int, int]) -> Tensor:
        """Return a (3, H, W) uint8 image at another (height, width)."""
        pixels = np.ascontiguousarray(image.permute(1, 2, 0).numpy())
        return torch.from_numpy(cv2.resize(pixels, size[::-1], interpolation=cv2.INTER_LINEAR)).permute(
            2, 0, 1
        )


class ResizeLikePillow(Resize):
    """Averages bytes with Pillow's rounding, as detectron2 does."""

    @staticmethod
    def resample(image: Tensor, size: tuple[int, int]) -> Tensor:
        """Return a (3, H, W) uint8 image at another (height, width)."""
        picture = Image.fromarray(np.ascontiguousarray(image.permute(1, 2, 0).numpy()))
        return torch.from_numpy(np.array(picture.resize(size[::-1], Resampling.BILINEAR))).permute(2, 0, 1)


class ResizeLikeTorchvision(Resize):
    """Gives the normalised pixels that torchvision's detectors see, in float32.

    They are normalised first and then interpolated, bilinear without averaging, and both sides are rounded
    down: 481 x 640 pixels become 800 x 1064, not 1065.
    """

    normalises: ClassVar[bool] = True

    def __call__(
        self, image: Tensor, target: Target, generator: np.random.Generator
    ) -> tuple[Tensor, Target]:
        """Return the normalised image and the target at the new size."""
        short_px = self.short_px[int(generator.integers(len(self.short_px)))]
        height, width = image.shape[1:]
        mean, std = (torch.tensor(value).view(3, 1, 1) for value in (IMAGENET_MEAN, IMAGENET_STD))
        seen = ((image.float() / 255 - mean) / std)[None]
        scale = min(short_px / min(height, width), self.long_px / max(height, width))
        seen = interpolate(seen, scale_factor=scale, mode="bilinear", recompute_scale_factor=True)[0]
        size = (seen.shape[1], seen.shape[2])
        return seen, move(target, scaling(size[1] / width, size[0] / height), size)


class ResizeLikeCaffe(Resize):
    """Gives the pixels that the programs of Fast and Faster R-CNN see, in float32 and RGB.

    Their own mean is subtracted, so that padding stands for it, and then it is interpolated, bilinear without
    averaging; sides are rounded to the nearest. The deviation they are divided by is ImageNet's, as that of
    all weights here.
    """

    normalises: ClassVar[bool] = True

    def __call__(
        self, image: Tensor, target: Target, generator: np.random.Generator
    ) -> tuple[Tensor, Target]:
        """Return the normalised image and the target at the new size."""
        short_px = self.short_px[int(generator.integers(len(self.short_px)))]
        height, width = image.shape[1:]
        seen = image.permute(1, 2, 0).numpy().astype(np.float32) - np.array(CAFFE_MEAN, np.float32)
        scale = short_px / min(height, width)
        if round(scale * max(height, width)) > self.long_px:
            scale = self.long_px / max(height, width)
        seen = np.asarray(
            cv2.resize(seen, None, fx=scale, fy=scale, interpolation=cv2.INTER_LINEAR), np.float32
        )
        size = (seen.shape[0], seen.shape[1])
        pixels = torch.from_numpy(seen / (255 * np.array(IMAGENET_STD, np.float32))).permute(2, 0, 1)
        return pixels, move(target, scaling(size[1] / width, size[0] / height), size)


def keep_size(image: Tensor, target: Target, _: np.random.Generator) -> tuple[Tensor, Target]:
    """Return the image and target as they came, where no size is asked for."""
    return image, target


@dataclass(frozen=True)
class Scale:
    """Makes an image larger or smaller by a factor.

    Attributes:
        factor: of both sides.
    """

    sets_size: ClassVar[bool] = True
    factor: float

    def __call__(
        self, image: Tensor, target: Target, generator: np.random.Generator
    ) -> tuple[Tensor, Target]:
        """Return the image and target at the new size."""
        short_px = max(1, round(min(image.shape[1:]) * self.factor))
        return Resize((short_px,))(image, target, generator)


def scaled_rule(rule: Transform, factor: float) -> Transform:
    """Return a size rule that makes images so many times as large as another does.

    Args:
        rule: a `Resize`, or one that keeps the size.
        factor: of both sides.

    Example:
        >>> scaled_rule(Resize((600,), 1000), 0.5)
        Resize(short_px=(300,), long_px=500)
    """
    if factor == 1:
        return rule
    if not isinstance(rule, Resize):
        return Scale(factor)
    short = tuple(max(1, round(length * factor)) for length in rule.short_px)
    return Resize(short, max(*short, round(rule.long_px * factor)))


def resized(height: int, width: int, short_px: int, long_px: int) -> tuple[int, int]:
    """Return the (height, width) that an image is resized to.

    The side that the rule sets gets exactly its length; the other keeps the aspect ratio, rounded
    half up to whole pixels and at least 1. The scale of each axis is therefore its own quotient
    of new to old pixels, and the two can differ by the rounding.

    Example:
        >>> resized(375, 500, short_px=600, long_px=1000)
        (600, 800)
        >>> resized(300, 1000, short_px=600, long_px=1000)
        (300, 1000)
    """
    short, long = min(height, width), max(height, width)
    new, old = (short_px, short) if short_px * long <= long_px * short else (long_px, long)

    def scaled(side: int) -> int:
        return max(1, (2 * side * new + old) // (2 * old))

    return scaled(height), scaled(width)


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
        square = image[:, top : top + side, left : left + side]
        return whole_image(_resampled(square, (self.size_px, self.size_px)), target, generator)


def whole_image(image: Tensor, target: Target, _: np.random.Generator) -> tuple[Tensor, Target]:
    """Return the image as it came, and the target with the whole image as the box of each object.

    An image folder does not know its images' sizes.
    """
    height, width = image.shape[1:]
    whole = torch.tensor([[0.0, 0.0, width, height]])
    return image, replace(target, boxes=whole.repeat(len(target), 1))
