"""ZFNet (Zeiler and Fergus, Visualizing and Understanding Convolutional Networks, ECCV 2014) up to conv5."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from detkit.models.backbones.sequential import ConvLayer, ConvRow
from detkit.models.response_norm import WithinChannelNorm

PLAN = (
    ConvLayer(96, 7, 2, 3, pooled=True),
    ConvLayer(256, 5, 2, 2, pooled=True),
    ConvLayer(384, 3, 1, 1),
    ConvLayer(384, 3, 1, 1),
    ConvLayer(256, 3, 1, 1),
)


class ZFNet(ConvRow):
    """The convolutions of ZFNet; one map (conv5, stride 16).

    It is the net that the released Faster R-CNN calls ZF: every layer is padded, so that a cell of the map
    stands for the pixels at its own place; responses are normalised within each channel; pooling rounds
    the size of the map up. SPP-net's ZF-5 has the same weights and norms and less padding.

    Args:
        width: multiplier of every number of channels.
        freeze_at: how many convolutions from the input on stay as they are.
    """

    def __init__(self, *, width: float = 1.0, freeze_at: int = 0) -> None:
        super().__init__(PLAN, _normalised_and_pooled, width=width, freeze_at=freeze_at)


def _normalised_and_pooled() -> Sequence[nn.Module]:
    return WithinChannelNorm(3, alpha=5e-5), nn.MaxPool2d(3, 2, padding=1, ceil_mode=True)
