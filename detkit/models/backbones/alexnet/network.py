"""AlexNet (Krizhevsky et al., NIPS 2012, in the one-tower form of arXiv 1404.5997) up to conv5."""

from __future__ import annotations

from torch import nn

from detkit.models.backbones.sequential import ConvLayer, ConvRow

PLAN = (
    ConvLayer(64, 11, 4, 5, pooled=True),
    ConvLayer(192, 5, 1, 2, pooled=True),
    ConvLayer(384, 3, 1, 1),
    ConvLayer(256, 3, 1, 1),
    ConvLayer(256, 3, 1, 1),
)


class AlexNet(ConvRow):
    """The convolutions of AlexNet as torchvision has it, without norms; one map (conv5, stride 16).

    conv1 is padded by 5 and the poolings by 1, as in Fast R-CNN, so that a cell of the map stands for
    the pixels at its own place; classification nets pad less and their maps are shifted by half a cell.

    Args:
        width: multiplier of every number of channels.
        freeze_at: how many convolutions from the input on stay as they are.
    """

    def __init__(self, *, width: float = 1.0, freeze_at: int = 0) -> None:
        super().__init__(PLAN, lambda: [nn.MaxPool2d(3, 2, padding=1)], width=width, freeze_at=freeze_at)
