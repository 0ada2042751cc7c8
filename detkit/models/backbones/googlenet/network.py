"""GoogLeNet (Szegedy et al., Going Deeper with Convolutions, CVPR 2015) with batch normalisation."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from detkit.models.backbones.width import scaled
from detkit.models.initialisation import he_normal
from detkit.models.norm import Norm, conv_norm, make_norm
from detkit.ops.convolution import Conv2d
from detkit.structures import IMAGENET_MEAN, IMAGENET_STD

CONV3 = 192  # channels
EPS = 1e-3  # of the norms in the published weights
LAST = 5  # conv1 is stage 1, conv2 and conv3 are stage 2, inception3 to inception5 stages 3 to 5

#   1x1, then 1x1 and 3x3, then 1x1 and 3x3, then 1x1 after pooling; torchvision's weights have 3x3 where
#   the paper has 5x5.
MODULES = {
    "inception3a": (64, 96, 128, 16, 32, 32),
    "inception3b": (128, 128, 192, 32, 96, 64),
    "inception4a": (192, 96, 208, 16, 48, 64),
    "inception4b": (160, 112, 224, 24, 64, 64),
    "inception4c": (128, 128, 256, 24, 64, 64),
    "inception4d": (112, 144, 288, 32, 64, 64),
    "inception4e": (256, 160, 320, 32, 128, 128),
    "inception5a": (256, 160, 320, 32, 128, 128),
    "inception5b": (384, 192, 384, 48, 128, 128),
}


class ConvNorm(nn.Module):
    """A convolution, its norm and a ReLU.

    Args:
        channels_in: channels of the input.
        channels: channels of the output.
        size: side of the kernel, odd.
        stride: stride of the convolution.
        norm: what follows it.
    """

    def __init__(self, channels_in: int, channels: int, size: int, *, stride: int = 1, norm: Norm) -> None:
        super().__init__()
        self.conv = Conv2d(channels_in, channels, size, stride, padding=size // 2, bias=False)
        self.bn = make_norm(norm, channels)
        setattr(self.bn, "eps", EPS)  # noqa: B010

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, channels, H / stride, W / stride) features."""
        return F.relu(conv_norm(self.conv, self.bn, x), inplace=True)


class Inception(nn.Module):
    """Four branches side by side, their channels one after another.

    Args:
        channels_in: channels of the input.
        plan: a row of `MODULES`, multiplied by the width.
        norm: what follows every convolution.

    Attributes:
        channels: channels of the output.
    """

    def __init__(self, channels_in: int, plan: tuple[int, ...], *, norm: Norm) -> None:
        super().__init__()
        one, before3, three, before5, five, pooled = plan
        self.channels = channels_of(plan)
        self.branch1 = ConvNorm(channels_in, one, 1, norm=norm)
        self.branch2 = nn.Sequential(
            ConvNorm(channels_in, before3, 1, norm=norm), ConvNorm(before3, three, 3, norm=norm)
        )
        self.branch3 = nn.Sequential(
            ConvNorm(channels_in, before5, 1, norm=norm), ConvNorm(before5, five, 3, norm=norm)
        )
        self.branch4 = nn.Sequential(
            nn.MaxPool2d(3, 1, padding=1), ConvNorm(channels_in, pooled, 1, norm=norm)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, channels, H, W) features."""
        return torch.cat([self.branch1(x), self.branch2(x), self.branch3(x), self.branch4(x)], 1)


def make_stage(*, stage: int, width: float, norm: Norm, frozen: bool) -> nn.Sequential:
    """Return the inception modules of stage 3, 4 or 5 from scratch, without the pooling before them.

    Args:
        stage: 3, 4 or 5.
        width: multiplier of every number of channels.
        norm: what follows every convolution.
        frozen: whether the stage stays as it is.
    """
    layers, channels_in = nn.Sequential(), scaled(CONV3, width)
    for name, full in MODULES.items():
        plan = tuple(scaled(channels, width) for channels in full)
        if name.startswith(f"inception{stage}"):
            module = Inception(channels_in, plan, norm="frozen" if frozen else norm)
            he_normal(module)
            layers.add_module(name, module.requires_grad_(not frozen))
        channels_in = channels_of(plan)
    return layers


def channels_of(plan: tuple[int, ...]) -> int:
    """Return the channels that the four branches of an inception module give together."""
    one, _, three, _, five, pooled = plan
    return one + three + five + pooled


class GoogLeNet(nn.Module):
    """GoogLeNet; one map (inception4e, stride 16) or four (conv3, inception3b, inception4e, inception5b).

    Published weights were trained on values in [-1, 1], so the pixels are brought there first.

    Args:
        width: multiplier of every number of channels.
        norm: what follows every convolution.
        freeze_at: how many stages from the input on stay as they are: conv1, conv2 and conv3, inception3,
            inception4, inception5.
        pyramid: whether to give four maps.

    Attributes:
        channels: number of channels of each map.
        strides: pixels per cell of each map.
    """

    scale: Tensor
    shift: Tensor

    def __init__(
        self, *, width: float = 1.0, norm: Norm = "frozen", freeze_at: int = 0, pyramid: bool = False
    ) -> None:
        super().__init__()
        stem, last = scaled(64, width), scaled(CONV3, width)
        norms: list[Norm] = ["frozen" if stage <= freeze_at else norm for stage in (1, 2)]
        self.conv1 = ConvNorm(3, stem, 7, stride=2, norm=norms[0]).requires_grad_(freeze_at < 1)
        self.conv2 = ConvNorm(stem, stem, 1, norm=norms[1]).requires_grad_(freeze_at < 2)
        self.conv3 = ConvNorm(stem, last, 3, norm=norms[1]).requires_grad_(freeze_at < 2)
        for layer in (self.conv1, self.conv2, self.conv3):
            he_normal(layer)
        channels = [last]
        self.names: list[list[str]] = []
        for stage in range(3, LAST + 1 if pyramid else LAST):
            made = make_stage(stage=stage, width=width, norm=norm, frozen=stage <= freeze_at)
            for name, module in made.named_children():
                self.add_module(name, module)
            self.names.append([name for name, _ in made.named_children()])
            channels.append(cast(Inception, made[-1]).channels)
        self.pyramid = pyramid
        self.channels = tuple(channels) if pyramid else (channels[-1],)
        self.strides = (4, 8, 16, 32) if pyramid else (16,)
        mean, std = torch.tensor(IMAGENET_MEAN), torch.tensor(IMAGENET_STD)
        self.register_buffer("scale", (std / 0.5)[:, None, None], persistent=False)
        self.register_buffer("shift", ((mean - 0.5) / 0.5)[:, None, None], persistent=False)

    def forward(self, pixels: Tensor) -> list[Tensor]:
        """Return the maps of (B, 3, H, W) normalised images, finest first."""
        x = F.max_pool2d(self.conv1(pixels * self.scale + self.shift), 3, 2, ceil_mode=True)
        maps: list[Tensor] = [self.conv3(self.conv2(x))]
        for number, names in enumerate(self.names):
            size = 2 if number + 3 == LAST else 3
            x = F.max_pool2d(maps[-1], size, 2, ceil_mode=True)
            for name in names:
                x = getattr(self, name)(x)
            maps.append(x)
        return maps if self.pyramid else maps[-1:]
