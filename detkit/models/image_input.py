"""From the pixels of image files to what a network takes, and back."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from detkit.ops.boxes import clip
from detkit.ops.padded import clip_each
from detkit.structures import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    Detections,
    ImageBatch,
    PaddedBatch,
    PaddedDetections,
)


class ImageInput(nn.Module):
    """A network that takes images as ImageNet's classifiers do."""

    mean: Tensor
    std: Tensor
    multiple_of = 1
    """Both sides of a batch are padded to a multiple of so many pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", 255 * torch.tensor(IMAGENET_MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("std", 255 * torch.tensor(IMAGENET_STD).view(3, 1, 1), persistent=False)

    def prepare(self, images: ImageBatch) -> Tensor:
        """Return (B, 3, H, W) images on the model's device, ImageNet's mean 0 and deviation 1, padding 0.

        Pixels that are float already are taken as normalised.
        """
        pixels = images.pixels.to(self.mean.device, non_blocking=True)
        if not pixels.is_floating_point():
            pixels = (pixels - self.mean) / self.std
            for image, (height, width) in zip(pixels, images.sizes, strict=True):
                image[:, height:] = 0
                image[:, :, width:] = 0
        height, width = pixels.shape[2:]
        across, down = -width % self.multiple_of, -height % self.multiple_of
        if across or down:
            pixels = F.pad(pixels, (0, across, 0, down))
        return pixels.contiguous(memory_format=torch.channels_last)

    def seen(self, size: tuple[int, int]) -> tuple[int, int, int, int]:
        """Return x1, y1, x2, y2 of what is looked at of an image of (height, width) pixels: all of it."""
        return 0, 0, size[1], size[0]

    def prepare_padded(self, images: PaddedBatch) -> Tensor:
        """Return what `prepare` does, for an exported graph, in which sizes are tensors."""
        pixels = images.pixels
        if not pixels.is_floating_point():
            pixels = (pixels - self.mean) / self.std
            rows, columns = (torch.arange(side, device=pixels.device) for side in pixels.shape[2:])
            below, right = rows >= images.sizes[:, :1], columns >= images.sizes[:, 1:]
            pixels = pixels.masked_fill((below[:, :, None] | right[:, None])[:, None], 0.0)
        if self.multiple_of > 1:
            down, across = (-side % self.multiple_of for side in pixels.shape[2:])
            pixels = F.pad(pixels, (0, across, 0, down))
        return pixels.to(self.mean.dtype)


def in_file_pixels(found: list[Detections], images: ImageBatch) -> list[Detections]:
    """Return the detections of each image scaled from the size the network saw to the size of the file."""
    scaled = []
    for own, size, original in zip(found, images.sizes, images.originals, strict=True):
        scale_y, scale_x = original[0] / size[0], original[1] / size[1]
        scale = own.boxes.new_tensor((scale_x, scale_y, scale_x, scale_y))
        parts = None if own.parts is None else own.parts * scale
        scaled.append(replace(own, boxes=clip(own.boxes * scale, original), parts=parts))
    return scaled


def plain_images(images: ImageBatch) -> list[NDArray[np.uint8]]:
    """Return each image's (H, W, 3) uint8 RGB pixels without their padding, for what computes on arrays."""
    return [
        pixels[:, :height, :width].permute(1, 2, 0).contiguous().cpu().numpy()
        for pixels, (height, width) in zip(images.pixels, images.sizes, strict=True)
    ]


def padded_in_file_pixels(found: PaddedDetections, images: PaddedBatch) -> PaddedDetections:
    """Return what `in_file_pixels` does, for an exported graph."""
    scale = (images.originals / images.sizes).flip(1).repeat(1, 2)[:, None]
    return replace(found, boxes=clip_each(found.boxes * scale, images.originals))


def resized(pixels: Tensor, factor: float) -> Tensor:
    """Return copies of images in another size; each pixel of a smaller one is the mean of those it shows.

    Args:
        pixels: (B, 3, H, W) normalised images.
        factor: of both sides.
    """
    size = [max(1, round(side * factor)) for side in pixels.shape[2:]]
    copy = F.interpolate(pixels, size, mode="bilinear", antialias=True)
    return copy.contiguous(memory_format=torch.channels_last)
