"""How other networks take the pixels of an image, put into the weights of their first convolution."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor

from detkit.errors import UserError, shown
from detkit.structures import IMAGENET_MEAN, IMAGENET_STD

MEAN = tuple(255 * value for value in IMAGENET_MEAN)
STD = tuple(255 * value for value in IMAGENET_STD)


@dataclass(frozen=True)
class Style:
    """What differs between networks of the same layers.

    Attributes:
        rgb: whether the first channel is red; otherwise it is blue.
        std: what each channel is divided by, once the mean is taken away; in the order of the channels.
        stride_in: which convolution of a bottleneck halves the map.
        mean: of each channel, in their order; none is ImageNet's.
    """

    rgb: bool
    std: tuple[float, ...]
    stride_in: str
    mean: tuple[float, ...] = ()


STYLES: Mapping[str, Style] = {
    "caffe": Style(rgb=False, std=(1.0, 1.0, 1.0), stride_in="1x1"),
    "caffe2": Style(rgb=False, std=STD[::-1], stride_in="3x3"),
    "pytorch": Style(rgb=True, std=STD, stride_in="3x3"),
}
"""MSRA's ResNets, ResNeXt-101 32x8d of Caffe2, and torchvision's networks."""


def style_named(arch: str) -> Style:
    """Return the style that the user names.

    Raises:
        UserError: there is none of that name.
    """
    if arch not in STYLES:
        raise UserError(f"--arch {shown(arch)}: must be one of {', '.join(STYLES)}")
    return STYLES[arch]


def for_our_pixels(weight: Tensor, style: Style, file: Path) -> Tensor:
    """Return a first convolution that sees in our pixels what it saw in those of its style.

    Ours are red, green and blue, less ImageNet's mean, over ImageNet's deviation, and 0 in the padding.

    Args:
        weight: (C, 3, H, W).
        style: how the network took its images.
        file: named in errors.

    Raises:
        UserError: it took another mean away, which the padding of an image would show.
    """
    step = 1 if style.rgb else -1
    mean, std = (style.mean or MEAN[::step])[::step], style.std[::step]
    if not np.allclose(mean, MEAN, atol=0.01):
        theirs, ours = (", ".join(f"{value:.3f}" for value in values) for values in (mean, MEAN))
        raise UserError(
            f"{file}: its network takes the mean {theirs} from red, green and blue; detkit's take {ours}"
        )
    factor = weight.new_tensor([ours / theirs for ours, theirs in zip(STD, std, strict=True)])
    return (weight if style.rgb else weight.flip(1)) * factor.view(1, 3, 1, 1)
