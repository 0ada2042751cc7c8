"""A network that reads regions cut out of images, each by itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from torch import Tensor, nn

from detkit.models.roi.box_heads import BoxHead, FcHead
from detkit.models.roi.region_layers import RegionLayers
from detkit.ops.ordered_pool import adaptive_max_pool


class CropNetwork(RegionLayers):
    """Convolutions, pool5, and fc6 and fc7 where the network has them.

    With fc6 and fc7 the last map is max-pooled to as many cells as fc6 wants, whatever the size of the crops;
    for a VGG and 224 pixels that is its own pool5. Without them pool5 is the mean of the last stage.

    Args:
        backbone: (R, 3, S, S) normalised crops -> maps, of which the last is taken.
        head: the layers behind it: fc6 and fc7, or the last stage.
        size: cells along each side that fc6 sees; without fc6 it has no meaning.
    """

    def __init__(self, backbone: nn.Module, head: BoxHead, size: int) -> None:
        fc = head if isinstance(head, FcHead) else None
        channels = cast(Sequence[int], backbone.channels)[-1]
        super().__init__(fc, channels * size * size if fc else head.channels)
        self.backbone, self.size = backbone, size
        self.stage = None if fc else head

    def pool5(self, crops: Tensor) -> Tensor:
        """Return (R, D) vectors of (R, 3, S, S) normalised crops."""
        features: Tensor = self.backbone(crops)[-1]
        if self.stage is None:
            return adaptive_max_pool(features, self.size).flatten(1)
        vectors: Tensor = self.stage(features)
        return vectors

    def forward(self, crops: Tensor) -> Tensor:
        """Return (R, D) vectors of the last layer, with dropout while training."""
        return self.last_vectors(self.pool5(crops))
