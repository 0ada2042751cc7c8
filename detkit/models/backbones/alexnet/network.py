"""AlexNet (Krizhevsky et al., NIPS 2012, in the one-tower form of arXiv 1404.5997) up to conv5."""

from __future__ import annotations

from detkit.models.backbones.sequential import ConvRow


class AlexNet(ConvRow):
    """The convolutions of AlexNet; one map (conv5, stride 16).

    conv1 is padded by 5 and the poolings by 1, as in Fast R-CNN, so that a cell of the map stands for
    the pixels at its own place; classification nets pad less and their maps are shifted by half a cell.
    """

    #         channels, kernel, stride, padding, pooled
    plan = (
        (64, 11, 4, 5, True),
        (192, 5, 1, 2, True),
        (384, 3, 1, 1, False),
        (256, 3, 1, 1, False),
        (256, 3, 1, 1, False),
    )
