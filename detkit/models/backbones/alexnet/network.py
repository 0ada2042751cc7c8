"""AlexNet (Krizhevsky et al., NIPS 2012, in the one-tower form of arXiv 1404.5997) up to conv5."""

from __future__ import annotations

from torch import nn

from detkit.models.backbones.sequential import SequentialBackbone
from detkit.models.backbones.width import scaled
from detkit.models.conv import Conv2d
from detkit.models.initialisation import he_normal

#         channels, kernel, stride, padding, pooled
LAYERS = (
    (64, 11, 4, 5, True),
    (192, 5, 1, 2, True),
    (384, 3, 1, 1, False),
    (256, 3, 1, 1, False),
    (256, 3, 1, 1, False),
)


class AlexNet(SequentialBackbone):
    """The convolutions of AlexNet; one map (conv5, stride 16).

    conv1 is padded by 5 and the poolings by 1, as in Fast R-CNN, so that a cell of the map stands for
    the pixels at its own place; classification nets pad less and their maps are shifted by half a cell.

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
                layers.append(nn.MaxPool2d(3, 2, padding=1))
            channels_in = channels
        super().__init__(nn.Sequential(*layers), [len(layers)])
        self.fc_channels = scaled(4096, width)
        he_normal(self)
