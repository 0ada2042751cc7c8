"""VGG (Simonyan and Zisserman, Very Deep Convolutional Networks, ICLR 2015) up to conv5."""

from __future__ import annotations

from torch import nn

from detkit.models.backbones.sequential import SequentialBackbone
from detkit.models.backbones.width import scaled
from detkit.models.norm import Norm, make_norm
from detkit.ops.convolution import Conv2d

CONVS = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
CHANNELS = (64, 128, 256, 512, 512)
FIRST_OF_PYRAMID = 2  # conv3: a pyramid begins at stride 4, as with a ResNet


class VGG(SequentialBackbone):
    """The convolutions of VGG; one map (conv5, stride 16) or four (conv3, conv4, conv5, pool5).

    Args:
        depth: 11, 13, 16 or 19.
        batch_norm: whether a norm follows every convolution.
        norm: which norm.
        width: multiplier of every number of channels.
        freeze_at: how many of the five groups of convolutions, from the input on, stay as they are.
        pyramid: whether to give four maps.
        ceil_mode: whether poolings round the size of a map up.
    """

    def __init__(
        self,
        *,
        depth: int = 16,
        batch_norm: bool = False,
        norm: Norm = "frozen",
        width: float = 1.0,
        freeze_at: int = 0,
        pyramid: bool = False,
        ceil_mode: bool = False,
    ) -> None:
        layers: list[nn.Module] = []
        pools: list[int] = []
        channels_in = 3
        for group, (convs, full) in enumerate(zip(CONVS[depth], CHANNELS, strict=True)):
            channels = scaled(full, width)
            for _ in range(convs):
                conv = Conv2d(channels_in, channels, 3, padding=1).requires_grad_(group >= freeze_at)
                layers.append(conv)
                if batch_norm:
                    layers.append(make_norm("frozen" if group < freeze_at else norm, channels))
                layers.append(nn.ReLU(inplace=True))
                channels_in = channels
            pools.append(len(layers))
            layers.append(nn.MaxPool2d(2, ceil_mode=ceil_mode))
        ends = [*pools[FIRST_OF_PYRAMID:], len(layers)] if pyramid else pools[-1:]
        super().__init__(nn.Sequential(*layers), ends, width=width)
