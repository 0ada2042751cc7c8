"""A network that reads regions cut out of images, each by itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, cast

from torch import Tensor, nn
from torch.nn import functional as F

from detkit.models.box_heads import BoxHead, FcHead

Layer = Literal["pool5", "fc6", "fc7"]


class CropNetwork(nn.Module):
    """Convolutions, pool5, and fc6 and fc7 where the network has them.

    With fc6 and fc7 the last map is max-pooled to as many cells as fc6 wants, whatever the size of the crops;
    for a VGG and 224 pixels that is its own pool5. Without them pool5 is the mean of the last stage.

    Args:
        backbone: (R, 3, S, S) normalised crops -> maps, of which the last is taken.
        head: the layers behind it.
        size: cells along each side that fc6 sees; without fc6 it has no meaning.

    Attributes:
        widths: the layers there are, and the length of their vectors.
    """

    def __init__(self, backbone: nn.Module, head: BoxHead, size: int) -> None:
        super().__init__()
        self.backbone, self.head, self.size = backbone, head, size
        channels = cast(Sequence[int], backbone.channels)[-1]
        self.widths: dict[Layer, int] = {"pool5": head.channels}
        if isinstance(head, FcHead):
            self.widths = {
                "pool5": channels * size * size,
                "fc6": head.channels,
                "fc7": head.channels,
            }

    @property
    def last(self) -> Layer:
        """The layer that the classifier sees."""
        return next(reversed(self.widths))

    def pool5(self, crops: Tensor) -> Tensor:
        """Return (R, D) vectors of (R, 3, S, S) normalised crops."""
        features: Tensor = self.backbone(crops)[-1]
        if isinstance(self.head, FcHead):
            return F.adaptive_max_pool2d(features, self.size).flatten(1)
        vectors: Tensor = self.head(features)
        return vectors

    def beyond(self, pool5: Tensor, layer: Layer) -> Tensor:
        """Return the (R, D') vectors of a layer from those of pool5, after the ReLU and without dropout."""
        if layer == "pool5":
            return pool5
        head = cast(FcHead, self.head)
        fc6 = F.relu(head.fc6(pool5))
        return fc6 if layer == "fc6" else F.relu(head.fc7(fc6))

    def forward(self, crops: Tensor) -> Tensor:
        """Return (R, D) vectors of the last layer, with dropout while training."""
        pool5 = self.pool5(crops)
        vectors: Tensor = self.head(pool5) if isinstance(self.head, FcHead) else pool5
        return vectors
