"""A row of layers knows its maps."""

from __future__ import annotations

from torch import nn

from detkit.models.backbones.sequential import SequentialBackbone


def test_sequential_backbone_derives_its_shape() -> None:
    layers = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.MaxPool2d(3), nn.Conv2d(8, 5, 1))
    backbone = SequentialBackbone(layers, [2, 4], width=1.0)
    assert (backbone.channels, backbone.strides) == ((8, 5), (2, 6))
