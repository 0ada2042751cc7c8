"""Backbones that are one row of layers: VGG, and AlexNet and its kind."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from torch import Tensor, nn

from detkit.models.backbones.width import scaled
from detkit.models.initialisation import he_normal
from detkit.models.norm import run_layers
from detkit.ops.convolution import Conv2d


class SequentialBackbone(nn.Module):
    """A row of layers that gives the maps after some of them.

    Args:
        features: the layers, under the indices that their weights have in files.
        ends: for each map, the index one past its last layer, rising.
        width: multiplier of every number of channels.

    Attributes:
        channels: number of channels of each map.
        strides: pixels per cell of each map.
        fc_channels: width of fc6 and fc7.
    """

    def __init__(self, features: nn.Sequential, ends: Sequence[int], *, width: float) -> None:
        super().__init__()
        self.features = features
        self.ends = tuple(ends)
        self.channels: tuple[int, ...] = ()
        self.strides: tuple[int, ...] = ()
        channels, stride = 0, 1
        for number, layer in enumerate(features, 1):
            if isinstance(layer, nn.Conv2d):
                channels = layer.out_channels
            if isinstance(layer, nn.Conv2d | nn.MaxPool2d):
                stride *= layer.stride if isinstance(layer.stride, int) else layer.stride[0]
            if number in self.ends:
                self.channels += (channels,)
                self.strides += (stride,)
        self.fc_channels = scaled(4096, width)
        he_normal(self)

    def forward(self, pixels: Tensor) -> list[Tensor]:
        """Return the maps of (B, 3, H, W) normalised images, finest first."""
        maps: list[Tensor] = []
        layers, start, x = list(self.features), 0, pixels
        for end in self.ends:
            x = run_layers(layers[start:end], x)
            maps.append(x)
            start = end
        return maps


class ConvLayer(NamedTuple):
    """A convolution of a `ConvRow`, and whether it is pooled."""

    channels: int
    kernel: int
    stride: int
    padding: int
    pooled: bool = False
    groups: int = 1


class ConvRow(SequentialBackbone):
    """Convolutions of AlexNet's kind, some of them pooled; one map, that of the last.

    Args:
        plan: the convolutions at full width.
        pooling: returns the layers behind one that is pooled: the pooling, and a norm before or behind it.
        width: multiplier of every number of channels.
        freeze_at: how many convolutions from the input on stay as they are.
    """

    def __init__(
        self,
        plan: Sequence[ConvLayer],
        pooling: Callable[[], Sequence[nn.Module]],
        *,
        width: float,
        freeze_at: int,
    ) -> None:
        layers: list[nn.Module] = []
        channels_in = 3
        for number, layer in enumerate(plan):
            channels = scaled(layer.channels, width)
            conv = Conv2d(
                channels_in, channels, layer.kernel, layer.stride, layer.padding, groups=layer.groups
            )
            layers += [conv.requires_grad_(number >= freeze_at), nn.ReLU(inplace=True)]
            if layer.pooled:
                layers += pooling()
            channels_in = channels
        super().__init__(nn.Sequential(*layers), [len(layers)], width=width)
