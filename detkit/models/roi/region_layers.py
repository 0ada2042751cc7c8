"""The layers that R-CNN and SPP-net take a region's features from."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from detkit.capabilities import Layer
from detkit.models.roi.box_heads import FcHead


class RegionLayers(nn.Module):
    """pool5, and fc6 and fc7 where a network has them.

    Args:
        fc: fc6 and fc7; None where pool5 is all there is.
        pool5_width: length of the vectors of pool5.

    Attributes:
        widths: the layers there are, and the length of their vectors.
    """

    def __init__(self, fc: FcHead | None, pool5_width: int) -> None:
        super().__init__()
        self.fc = fc
        self.widths: dict[Layer, int] = {"pool5": pool5_width}
        if fc is not None:
            self.widths |= {"fc6": fc.channels, "fc7": fc.channels}

    @property
    def last(self) -> Layer:
        """The layer that the classifier sees."""
        return next(reversed(self.widths))

    def beyond(self, pool5: Tensor, layer: Layer) -> Tensor:
        """Return the (R, D') vectors of a layer from those of pool5, after the ReLU and without dropout."""
        if layer == "pool5" or self.fc is None:
            return pool5
        fc6 = F.relu(self.fc.fc6(pool5))
        return fc6 if layer == "fc6" else F.relu(self.fc.fc7(fc6))

    def last_vectors(self, pool5: Tensor) -> Tensor:
        """Return the (R, D) vectors of the last layer, with dropout while training."""
        if self.fc is None:
            return pool5
        vectors: Tensor = self.fc(pool5)
        return vectors
