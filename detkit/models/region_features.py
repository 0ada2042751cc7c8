"""Features of regions: what a feature map holds where a box lies."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import log2

import torch
from torch import Tensor

from detkit.ops.regions import rows_of_levels

CANONICAL_SIZE_PX = 224  # the size of ImageNet's crops, and the level it belongs to (Lin 2017)
CANONICAL_LEVEL = 4

Pool = Callable[[Tensor, Tensor, Tensor, float], Tensor]
PyramidPool = Callable[[Sequence[Tensor], Tensor, Tensor, Tensor, Sequence[float]], Tensor]


class RegionFeatures:
    """Takes each region's features from one map, or from the level of a pyramid that fits its size.

    Args:
        pool: RoIPool or RoIAlign: (features, boxes, image, scale) -> (R, C, size, size).
        strides: pixels per cell of the maps to take from, finest first; coarser maps are left alone.
        pyramid_pool: the same from several maps at once, (maps, boxes, image, level, scales) ->
            (R, C, size, size); None takes them from one map after another.
    """

    def __init__(self, pool: Pool, strides: Sequence[int], pyramid_pool: PyramidPool | None = None) -> None:
        self.pool, self.strides, self.pyramid_pool = pool, tuple(strides), pyramid_pool

    def __call__(self, maps: Sequence[Tensor], boxes: Sequence[Tensor]) -> Tensor:
        """Return (R, C, size, size) features of all images' regions, image by image.

        Args:
            maps: (B, C, H, W) feature maps, finest first.
            boxes: for each image, (R_i, 4) boxes in pixels.
        """
        regions = torch.cat(list(boxes))
        owners = torch.arange(len(boxes), device=regions.device)
        counts = torch.tensor([len(own) for own in boxes], device=regions.device)
        image = owners.repeat_interleave(counts, output_size=len(regions))
        if len(self.strides) == 1:
            return self.pool(maps[0], regions, image, 1 / self.strides[0])
        levels = pyramid_level(regions, self.strides)
        scales, used = [1 / stride for stride in self.strides], maps[: len(self.strides)]
        if self.pyramid_pool is not None:
            return self.pyramid_pool(used, regions, image, levels, scales)
        rows = rows_of_levels(levels, len(used))
        pooled = [
            self.pool(features, regions[own], image[own], scale)
            for features, own, scale in zip(used, rows, scales, strict=True)
        ]
        return torch.cat(pooled)[torch.argsort(torch.cat(rows))]


def pyramid_level(boxes: Tensor, strides: Sequence[int]) -> Tensor:
    """Return which map of a pyramid each box takes its features from.

    A box of 224 px belongs to the map of stride 16, one half as large to the next finer one:
    `floor(4 + log2(sqrt(area) / 224))`, held within the maps there are (Lin 2017, equation 1).

    Args:
        boxes: (R, 4) boxes in pixels.
        strides: strides of the maps, each twice the one before.

    Returns:
        (R,) int64 indices into `strides`.

    Example:
        >>> sizes = torch.tensor([0.0, 111.0, 112.0, 223.0, 224.0, 5000.0])
        >>> pyramid_level(torch.stack([0 * sizes, 0 * sizes, sizes, sizes], 1), (4, 8, 16, 32))
        tensor([0, 0, 1, 1, 2, 3])
    """
    sizes = torch.sqrt((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]))
    # The small number keeps a box of exactly 224 px, rounded down by the logarithm, on its own level.
    level = torch.floor(CANONICAL_LEVEL + torch.log2(sizes / CANONICAL_SIZE_PX) + 1e-6)
    first = round(log2(strides[0]))
    return (level.clamp(first, first + len(strides) - 1) - first).to(torch.int64)
