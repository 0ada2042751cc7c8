"""Backbones that are one row of layers: VGG and AlexNet."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from torch import Tensor, nn

from detkit.models.norm import run_layers


def side(value: int | tuple[int, ...]) -> int:
    """Return the one number of a layer's stride or kernel, which is the same along both sides."""
    return value if isinstance(value, int) else value[0]


class SequentialBackbone(nn.Module):
    """A row of layers that gives the maps after some of them.

    Args:
        features: the layers, under the indices that their weights have in files.
        ends: for each map, the index one past its last layer, rising.

    Attributes:
        channels: number of channels of each map.
        strides: pixels per cell of each map.
        fc_channels: width of fc6 and fc7.
    """

    channels: tuple[int, ...]
    strides: tuple[int, ...]
    fc_channels: int

    def __init__(self, features: nn.Sequential, ends: Sequence[int]) -> None:
        super().__init__()
        self.features = features
        self.ends = tuple(ends)
        shapes = [channels_and_stride(list(features)[:end]) for end in self.ends]
        self.channels = tuple(channels for channels, _ in shapes)
        self.strides = tuple(stride for _, stride in shapes)

    def forward(self, pixels: Tensor) -> list[Tensor]:
        """Return the maps of (B, 3, H, W) normalised images, finest first."""
        maps: list[Tensor] = []
        layers, start, x = list(self.features), 0, pixels
        for end in self.ends:
            x = run_layers(layers[start:end], x)
            maps.append(x)
            start = end
        return maps


def channels_and_stride(layers: Iterable[nn.Module]) -> tuple[int, int]:
    """Return the channels after a row of layers and how many input pixels one cell advances."""
    channels, stride = 0, 1
    for layer in layers:
        if isinstance(layer, nn.Conv2d):
            channels = layer.out_channels
        if isinstance(layer, nn.Conv2d | nn.MaxPool2d):
            stride *= side(layer.stride)
    return channels, stride
