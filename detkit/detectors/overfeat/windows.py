"""Windows of a map: the pooling at every offset, and fully connected layers on some windows or on all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from detkit.models.initialisation import gaussian, he_normal
from detkit.models.map_pyramid import Size


@dataclass(frozen=True)
class OffsetPool:
    """The last pooling of a network, from every cell of the map on, and the windows of what it gives.

    The paper pools at each of 3x3 offsets in steps of 3 cells, classifies the windows of the nine maps, and
    interleaves what comes of them. That is the same as a maximum at every cell, of which a window takes every
    third: so the nine are one pooling in steps of 1, and one convolution that reaches across the others.

    Attributes:
        size: cells along each side of what is pooled.
        stride: cells between two poolings of a window.
        cells: pooled cells along each side of a window.
        fine: whether to pool at all offsets; at the first alone otherwise.
    """

    size: int = 3
    stride: int = 3
    cells: int = 5
    fine: bool = True

    @property
    def span(self) -> int:
        """Cells of the map along each side of a window."""
        return self.size + (self.cells - 1) * self.stride

    @property
    def step(self) -> int:
        """Cells of the map between two windows."""
        return 1 if self.fine else self.stride

    @property
    def dilation(self) -> int:
        """Pooled cells from one of a window to its next."""
        return self.stride // self.step

    def __call__(self, maps: Tensor) -> Tensor:
        """Return the (B, C, h, w) maxima of (B, C, H, W) maps, which go on as zeros where none has room."""
        missing = [max(0, self.span - side) for side in (maps.shape[3], maps.shape[2])]
        return F.max_pool2d(F.pad(maps, (0, missing[0], 0, missing[1])), self.size, self.step)

    def places(self, cells: Size) -> Size:
        """Return rows and columns of the windows of a map of so many rows and columns, one at least."""
        return (
            max(0, cells[0] - self.span) // self.step + 1,
            max(0, cells[1] - self.span) // self.step + 1,
        )

    def cut(self, pooled: Tensor, y: Tensor, x: Tensor) -> Tensor:
        """Return the (N, C, cells, cells) windows at (N,) rows and columns of a (C, h, w) pooled map."""
        inside = self.dilation * torch.arange(self.cells, device=pooled.device)
        rows, columns = y[:, None, None] + inside[:, None], x[:, None, None] + inside
        return pooled[:, rows, columns].movedim(0, 1)


class WindowLayers(nn.Module):
    """Two fully connected layers on a window and an output: the network of the classes, and that of boxes.

    Args:
        channels_in: channels of the map.
        cells: along each side of a window.
        channels: widths of the two layers.
        outputs: what comes out.
        per_class: outputs of a class, where there are such; 0 where all are for every class.
        dropout: share of activations dropped after each layer in training.

    Attributes:
        outputs_per_class: the layers that have a part for each class.
    """

    def __init__(
        self,
        channels_in: int,
        cells: int,
        *,
        channels: Sequence[int],
        outputs: int,
        per_class: int = 0,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        self.cells, self.dropout = cells, dropout
        first, second = channels
        self.fc6 = nn.Linear(channels_in * cells * cells, first)
        self.fc7 = nn.Linear(first, second)
        he_normal(self)
        self.output = nn.Linear(second, outputs)
        gaussian(self.output, 0.01)
        self.outputs_per_class = {"output": per_class} if per_class else {}

    def forward(self, windows: Tensor) -> Tensor:
        """Return the (N, outputs) of (N, C, cells, cells) windows, with dropout while training."""
        dropout = self.dropout if self.training else 0.0
        fc6 = F.dropout(F.relu(self.fc6(windows.flatten(1))), dropout)
        found: Tensor = self.output(F.dropout(F.relu(self.fc7(fc6)), dropout))
        return found.float()

    def everywhere(self, pooled: Tensor, dilation: int) -> Tensor:
        """Return (B, H, W, outputs) of every window, without dropout: the layers run as convolutions.

        Args:
            pooled: (B, C, h, w) maxima.
            dilation: pooled cells from one of a window to its next.
        """
        kernel = self.fc6.weight.view(len(self.fc6.weight), -1, self.cells, self.cells)
        fc6 = F.conv2d(pooled, kernel, self.fc6.bias, dilation=dilation).movedim(1, -1)
        found: Tensor = self.output(
            F.relu(self.fc7(F.relu(fc6)))
        )  # kernels of 1x1 are the layers as they are
        return found.float()
