"""CaffeNet (Jia et al., Caffe: Convolutional Architecture for Fast Feature Embedding, 2014) up to conv5."""

from __future__ import annotations

from torch import nn

from detkit.models.backbones.sequential import ConvLayer, ConvRow
from detkit.models.response_norm import LocalResponseNorm


class CaffeNet(ConvRow):
    """The convolutions of Caffe's reference network; one map (conv5, stride 16).

    It is AlexNet (Krizhevsky et al., NIPS 2012) with the halves of its two towers as groups, and with each
    pooling before the norm instead of behind it. Pooling rounds the size of the map up.

    Args:
        width: multiplier of every number of channels.
        freeze_at: how many convolutions from the input on stay as they are.
        padded: pad conv1 by 5 and the poolings by 1, as Fast R-CNN does, so that a cell of the map stands
            for the pixels at its own place. Without, as R-CNN and Caffe's classifier have it, 227 pixels make
            a map of 13 cells.
    """

    def __init__(self, *, width: float = 1.0, freeze_at: int = 0, padded: bool = True) -> None:
        plan = (
            ConvLayer(96, 11, 4, 5 if padded else 0, pooled=True),
            ConvLayer(256, 5, 1, 2, pooled=True, groups=2),
            ConvLayer(384, 3, 1, 1),
            ConvLayer(384, 3, 1, 1, groups=2),
            ConvLayer(256, 3, 1, 1, groups=2),
        )

        def pooled_and_normalised() -> list[nn.Module]:
            pool = nn.MaxPool2d(3, 2, padding=1 if padded else 0, ceil_mode=True)
            return [pool, LocalResponseNorm(5, alpha=1e-4, beta=0.75)]

        super().__init__(plan, pooled_and_normalised, width=width, freeze_at=freeze_at)
