"""ZFNet (Zeiler and Fergus, Visualizing and Understanding Convolutional Networks, ECCV 2014) up to conv5."""

from __future__ import annotations

from torch import nn

from detkit.models.backbones.sequential import SequentialBackbone
from detkit.models.backbones.width import scaled
from detkit.models.conv import Conv2d
from detkit.models.initialisation import he_normal
from detkit.models.response_norm import LocalResponseNorm

#         channels, kernel, stride, padding, normalised and pooled
LAYERS = (
    (96, 7, 2, 3, True),
    (256, 5, 2, 2, True),
    (384, 3, 1, 1, False),
    (384, 3, 1, 1, False),
    (256, 3, 1, 1, False),
)


class ZFNet(SequentialBackbone):
    """The convolutions of ZFNet; one map (conv5, stride 16).

    Channels, paddings and the normalisation across three channels are those of the net that SPP-net and
    Faster R-CNN call ZF: every layer is padded, so that a cell of the map stands for the pixels at its
    own place.

    Args:
        width: multiplier of every number of channels.
        freeze_at: how many convolutions from the input on stay as they are.
    """

    def __init__(self, *, width: float = 1.0, freeze_at: int = 0) -> None:
        layers: list[nn.Module] = []
        channels_in = 3
        for number, (full, kernel, stride, padding, pooled) in enumerate(LAYERS):
            channels = scaled(full, width)
            conv = Conv2d(channels_in, channels, kernel, stride, padding)
            layers += [conv.requires_grad_(number >= freeze_at), nn.ReLU(inplace=True)]
            if pooled:
                layers += [LocalResponseNorm(3, alpha=5e-5, beta=0.75), nn.MaxPool2d(3, 2, padding=1)]
            channels_in = channels
        super().__init__(nn.Sequential(*layers), [len(layers)])
        self.fc_channels = scaled(4096, width)
        he_normal(self)
