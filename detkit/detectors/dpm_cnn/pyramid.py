"""The deep feature pyramid: the last map of a network for each of several sizes of an image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from detkit.models.image_input import shrunk

Size = tuple[int, int]

_SMALLEST_PX = 32  # what the poolings of networks need


class DeepPyramid(nn.Module):
    """Features of each of several sizes of an image, the maximum around each cell of the last map.

    Args:
        backbone: (B, 3, H, W) normalised images -> feature maps.
        levels: number of sizes, the image's own first.
        scale_step: by so much each is smaller than the one before.
        pool_cells: cells across which the maximum around each is taken.
        scale: factor of the features.
        cell_offset: middle of what the first cell sees, in cells; 0.5 is the middle of the cell itself.

    Attributes:
        channels: of the features.
        stride: pixels per cell.
    """

    def __init__(
        self,
        backbone: nn.Module,
        *,
        levels: int = 7,
        scale_step: float = 2**0.5,
        pool_cells: int = 3,
        scale: float = 0.02,
        cell_offset: float = 0.5,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.factors = [scale_step**-level for level in range(levels)]
        self.pool_cells, self.scale, self.cell_offset = pool_cells, scale, cell_offset
        self.channels: int = cast(Sequence[int], backbone.channels)[-1]
        self.stride: int = cast(Sequence[int], backbone.strides)[-1]

    def forward(self, images: Sequence[Tensor]) -> list[Tensor]:
        """Return for each level (B, C, H, W) features, 0 beyond an image's own cells.

        Args:
            images: (3, H, W) normalised pixels of each, without padding.
        """
        return [self._level(images, factor) for factor in self.factors]

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

    def _level(self, images: Sequence[Tensor], factor: float) -> Tensor:
        copies = [image[None] if factor == 1 else shrunk(image[None], factor) for image in images]
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
        maps = maps[..., :rows, :columns] * own
        pooled = F.max_pool2d(maps, self.pool_cells, stride=1, padding=self.pool_cells // 2)
        return pooled * (own * self.scale)
