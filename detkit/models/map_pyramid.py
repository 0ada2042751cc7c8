"""The last map of a network for each of several sizes of an image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from detkit.models.image_input import resized

Size = tuple[int, int]

_SMALLEST_PX = 32  # what the poolings of networks need


class MapPyramid(nn.Module):
    """A network's last map of each of several copies of an image.

    Args:
        backbone: (B, 3, H, W) normalised images -> feature maps.
        factors: of both sides of the image in each copy.
        cell_offset: middle of what the first cell sees, in cells; 0.5 is the middle of the cell itself.

    Attributes:
        channels: of the maps.
        stride: pixels per cell.
    """

    def __init__(self, backbone: nn.Module, factors: Sequence[float], *, cell_offset: float = 0.5) -> None:
        super().__init__()
        self.backbone, self.factors, self.cell_offset = backbone, tuple(factors), cell_offset
        self.channels: int = cast(Sequence[int], backbone.channels)[-1]
        self.stride: int = cast(Sequence[int], backbone.strides)[-1]

    def forward(self, images: Sequence[Tensor]) -> list[Tensor]:
        """Return for each level (B, C, H, W) features, 0 beyond an image's own cells.

        Args:
            images: (3, H, W) normalised pixels of each, without padding.
        """
        return [self.level(images, factor)[0] for factor in self.factors]

    def level(self, images: Sequence[Tensor], factor: float) -> tuple[Tensor, Tensor]:
        """Return the (B, C, H, W) features of one copy, and (B, 1, H, W) 1 in an image's own cells, or 0."""
        copies = [image[None] if factor == 1 else resized(image[None], factor) for image in images]
        cells = [self._num_cells(copy.shape[2:]) for copy in copies]
        rows, columns = (max(sides) for sides in zip(*cells, strict=True))
        # Whole cells, because some networks leave out those that an image fills in part.
        height, width = (max(_SMALLEST_PX, side * self.stride) for side in (rows, columns))
        batch = torch.cat(
            [F.pad(copy, (0, width - copy.shape[3], 0, height - copy.shape[2])) for copy in copies]
        )
        maps: Tensor = self.backbone(batch.contiguous(memory_format=torch.channels_last))[-1]
        own = maps.new_zeros((len(copies), 1, rows, columns))
        for inside, (height, width) in zip(own, cells, strict=True):
            inside[:, :height, :width] = 1
        return maps[..., :rows, :columns] * own, own

    def cells(self, size: Size) -> list[Size]:
        """Return for each level rows and columns of the cells of an image of (height, width) pixels."""
        return [self._num_cells(pixels) for pixels in self._sizes(size)]

    def cell_px(self, size: Size) -> list[tuple[float, float]]:
        """Return for each level height and width of a cell in pixels of an image of that (height, width)."""
        return [
            (self.stride * size[0] / height, self.stride * size[1] / width)
            for height, width in self._sizes(size)
        ]

    def _sizes(self, size: Size) -> list[Size]:
        return [(max(1, round(size[0] * f)), max(1, round(size[1] * f))) for f in self.factors]

    def _num_cells(self, size: Sequence[int]) -> Size:
        return -(-size[0] // self.stride), -(-size[1] // self.stride)
