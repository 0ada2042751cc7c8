"""ZFNet (Zeiler and Fergus, Visualizing and Understanding Convolutional Networks, ECCV 2014) up to conv5."""

from __future__ import annotations

from detkit.models.backbones.sequential import ConvRow


class ZFNet(ConvRow):
    """The convolutions of ZFNet; one map (conv5, stride 16).

    Channels, paddings and the normalisation across three channels are those of the net that SPP-net and
    Faster R-CNN call ZF: every layer is padded, so that a cell of the map stands for the pixels at its
    own place.
    """

    #         channels, kernel, stride, padding, normalised and pooled
    plan = (
        (96, 7, 2, 3, True),
        (256, 5, 2, 2, True),
        (384, 3, 1, 1, False),
        (384, 3, 1, 1, False),
        (256, 3, 1, 1, False),
    )
    normalises = True
