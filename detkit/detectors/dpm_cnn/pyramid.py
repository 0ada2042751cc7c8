"""The deep feature pyramid: the maxima around each cell of a network's last map, in several sizes."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from detkit.models.map_pyramid import MapPyramid


class DeepPyramid(MapPyramid):
    """Features of each of several sizes of an image, the maximum around each cell of the last map.

    Args:
        backbone: (B, 3, H, W) normalised images -> feature maps.
        levels: number of sizes, the image's own first.
        scale_step: by so much each is smaller than the one before.
        pool_cells: cells across which the maximum around each is taken.
        scale: factor of the features.
        cell_offset: middle of what the first cell sees, in cells; 0.5 is the middle of the cell itself.
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
        super().__init__(backbone, [scale_step**-level for level in range(levels)], cell_offset=cell_offset)
        self.pool_cells, self.scale = pool_cells, scale

    def forward(self, images: Sequence[Tensor]) -> list[Tensor]:
        """Return for each level (B, C, H, W) features, 0 beyond an image's own cells.

        Args:
            images: (3, H, W) normalised pixels of each, without padding.
        """
        return [self._pooled(*self.level(images, factor)) for factor in self.factors]

    def _pooled(self, maps: Tensor, own: Tensor) -> Tensor:
        pooled = F.max_pool2d(maps, self.pool_cells, stride=1, padding=self.pool_cells // 2)
        return pooled * (own * self.scale)
