"""The network that the heads of a localizer branch off from, and a head that regresses numbers."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from detkit.models.backbones.tails import FcTail, StageTail, gaussian_linear
from detkit.models.initialisation import he_normal
from detkit.ops.ordered_pool import adaptive_max_pool

Attach = Literal["conv", "fc"]


class Trunk(nn.Module):
    """A published network without its logits: what heads branch off from.

    Args:
        backbone: (B, 3, H, W) normalised images -> one feature map, in a list.
        tail: what stands behind it.
    """

    def __init__(self, backbone: nn.Module, tail: FcTail | StageTail) -> None:
        super().__init__()
        self.backbone, self.tail = backbone, tail

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Return the (B, C, h, w) map of the last convolution and the (B, D) vector before the logits."""
        last = self.tail.map(self.backbone(pixels)[-1])
        return last, self.tail.vector(last)


class RegressionHead(nn.Module):
    """Regression of numbers, such as a box, from the last convolution or from the layer of the logits.

    Args:
        tail: whose map and vector it is called with.
        attach: which of the two it sees; behind the map it has a hidden layer, for means over the cells would
            not know where anything is.
        cells: cells along each side that the map is max-pooled to.
        channels: width of the hidden layer.
        dropout: share of its activations dropped.
        num_sets: sets of numbers: one, or one a class.
        num_values: numbers of a set.
    """

    def __init__(
        self,
        tail: FcTail | StageTail,
        *,
        attach: Attach,
        cells: int,
        channels: int,
        dropout: float,
        num_sets: int,
        num_values: int,
    ) -> None:
        super().__init__()
        self.attach, self.cells = attach, cells
        self.shape = num_sets, num_values
        inputs = tail.vector_channels
        self.hidden: nn.Module = nn.Identity()
        if attach == "conv":
            hidden = nn.Linear(tail.map_channels * cells**2, channels)
            he_normal(hidden)
            self.hidden, inputs = nn.Sequential(hidden, nn.ReLU(inplace=True), nn.Dropout(dropout)), channels
        self.regress = gaussian_linear(inputs, num_sets * num_values)
        self.outputs_per_class = {} if num_sets == 1 else {"regress": num_values}

    def forward(self, last: Tensor, vector: Tensor) -> Tensor:
        """Return (B, num_sets, num_values) of the two outputs of a `Trunk`."""
        seen = vector if self.attach == "fc" else adaptive_max_pool(last, self.cells).flatten(1)
        found: Tensor = self.regress(self.hidden(seen)).float()
        return found.view(-1, *self.shape)
