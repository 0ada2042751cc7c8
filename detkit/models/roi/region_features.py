"""Features of regions: what a feature map holds where a box lies."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import log2
from typing import cast

import torch
from torch import Tensor, nn

from detkit.errors import UserError
from detkit.ops.boxes import to_inclusive
from detkit.ops.regions import rows_of_levels

CANONICAL_SIZE_PX = 224  # the size of ImageNet's crops, and the level it belongs to (Lin 2017)
CANONICAL_LEVEL = 4

Pool = Callable[[Tensor, Tensor, Tensor, float], Tensor]
PyramidPool = Callable[[Sequence[Tensor], Tensor, Tensor, Tensor, Sequence[float]], Tensor]
Level = Callable[[Tensor, Sequence[float]], Tensor]
Rounding = Callable[[Tensor, float], Tensor]
PixelSizes = Sequence[float] | None


class RegionFeatures:
    """Takes each region's features from one map, or from the one of several that fits its size.

    Args:
        pool: RoIPool or RoIAlign: (features, boxes, image, scale) -> (R, C, size, size).
        strides: pixels per cell of the maps to take from, finest first; coarser maps are left alone. Where
            only one map is given, it is the first.
        pyramid_pool: the same from several maps at once, (maps, boxes, image, level, scales) ->
            (R, C, size, size); None takes them from one map after another.
        level: chooses among several maps: (boxes, strides) -> indices; None is `pyramid_level`.
        rounding: (boxes, scale) -> integers; what is equal in them has equal features (RoIPool). None where
            each box has features of its own.
        inclusive: whether `pool` and `rounding` take boxes of inclusive pixels, as those of the papers do.
    """

    def __init__(
        self,
        pool: Pool,
        strides: Sequence[float],
        pyramid_pool: PyramidPool | None = None,
        *,
        level: Level | None = None,
        rounding: Rounding | None = None,
        inclusive: bool = False,
    ) -> None:
        self.inclusive = inclusive
        self.pool, self.strides, self.pyramid_pool = pool, tuple(strides), pyramid_pool
        self.level, self.rounding = level or pyramid_level, rounding

    def __call__(
        self,
        maps: Sequence[Tensor],
        boxes: Sequence[Tensor],
        pixel_px: PixelSizes = None,
        levels: Tensor | None = None,
    ) -> Tensor:
        """Return (R, C, size, size) features of all images' regions, image by image.

        Args:
            maps: (B, C, H, W) feature maps, finest first.
            boxes: for each image, (R_i, 4) boxes in pixels.
            pixel_px: for each image, the side of the pixels that its boxes end with, in these; None is one.
            levels: (R,) which of several maps; None lets each region's size choose.
        """
        regions = torch.cat(list(boxes))
        owners = torch.arange(len(boxes), device=regions.device)
        counts = torch.tensor([len(own) for own in boxes], device=regions.device)
        image = owners.repeat_interleave(counts, output_size=len(regions))
        side: float | Tensor = 1.0
        if self.inclusive and pixel_px is not None:
            side = regions.new_tensor(pixel_px)[image][:, None]
        return self.of_images(maps, regions, image, side, levels)

    def of_images(
        self,
        maps: Sequence[Tensor],
        regions: Tensor,
        image: Tensor,
        pixel_px: float | Tensor = 1.0,
        levels: Tensor | None = None,
    ) -> Tensor:
        """Return the features of regions in any order of their images.

        Args:
            maps: (B, C, H, W) feature maps, finest first.
            regions: (R, 4) boxes in pixels.
            image: (R,) index in [0, B) of the image each lies in.
            pixel_px: side of the pixels that the boxes end with, of all or (R, 1) of each.
            levels: see `__call__`.
        """
        several = len(maps) > 1 and len(self.strides) > 1
        if several and levels is None:
            levels = self.level(regions, self.strides)
        if self.inclusive:
            regions = to_inclusive(regions, pixel_px)
        if not several or levels is None:
            return self.pool(maps[0], regions, image, 1 / self.strides[0])
        scales, used = [1 / stride for stride in self.strides], maps[: len(self.strides)]
        if self.pyramid_pool is not None:
            return self.pyramid_pool(used, regions, image, levels, scales)
        rows = rows_of_levels(levels, len(used))
        pooled = [
            self.pool(features, regions[own], image[own], scale)
            for features, own, scale in zip(used, rows, scales, strict=True)
        ]
        return torch.cat(pooled)[torch.argsort(torch.cat(rows))]

    def levels_of(self, boxes: Tensor) -> Tensor | None:
        """Return the (R,) map that each of (R, 4) boxes takes its features from; None where there is one."""
        return self.level(boxes, self.strides) if len(self.strides) > 1 else None

    def distinct(
        self, boxes: Sequence[Tensor], pixel_px: PixelSizes = None
    ) -> tuple[list[Tensor], Tensor | None]:
        """Return each image's boxes that differ in their features, one of each kind.

        Args:
            boxes: for each image, (R_i, 4) boxes in pixels.
            pixel_px: see `__call__`.

        Returns:
            For each image, (U_i, 4) boxes; and for each of all R boxes, image by image, its row among all U.
            None is one row for each, in order.
        """
        if self.rounding is None or len(self.strides) > 1:
            return list(boxes), None
        kept, rows, before = [], [], 0
        for own, edges in zip(boxes, self._edges(boxes, pixel_px), strict=True):
            kinds, row = torch.unique(self.rounding(edges, 1 / self.strides[0]), dim=0, return_inverse=True)
            first = row.new_full((len(kinds),), len(own))
            first.scatter_reduce_(0, row, torch.arange(len(own), device=row.device), "amin")
            kept.append(own[first])
            rows.append(before + row)
            before += len(kinds)
        return kept, torch.cat(rows)

    def _edges(self, boxes: Sequence[Tensor], pixel_px: PixelSizes) -> list[Tensor]:
        if not self.inclusive:
            return list(boxes)
        sizes = [1.0] * len(boxes) if pixel_px is None else pixel_px
        return [to_inclusive(own, size) for own, size in zip(boxes, sizes, strict=True)]


class CustomRegionFeatures(nn.Module):
    """Features of regions by a module of the user's own, in the place of `RegionFeatures`.

    Args:
        pool: (maps, boxes) -> (R, channels, size, size) with such attributes; `maps` are (B, C, H, W), finest
            first, and `boxes` (R_i, 4) in pixels of the batch for each image. Rows come image by image.
        strides: pixels per cell of the maps it gets.
        name: its target in the config, for messages.
    """

    def __init__(self, pool: nn.Module, strides: Sequence[float], name: str) -> None:
        super().__init__()
        self.pool, self.strides, self.name = pool, tuple(strides), name
        self.channels, self.size = cast(int, pool.channels), cast(int, pool.size)

    def forward(
        self,
        maps: Sequence[Tensor],
        boxes: Sequence[Tensor],
        pixel_px: PixelSizes = None,
        levels: Tensor | None = None,
    ) -> Tensor:
        """Return (R, channels, size, size) features of all images' regions, image by image.

        Raises:
            UserError: the module returns something else.
        """
        features: Tensor = self.pool(list(maps[: len(self.strides)]), list(boxes))
        wanted = (sum(map(len, boxes)), self.channels, self.size, self.size)
        if tuple(features.shape) != wanted:
            raise UserError(
                f"regions: {self.name} must return features of shape (regions, channels, size, size), here "
                f"{wanted}; it returned {tuple(features.shape)}"
            )
        return features

    def levels_of(self, boxes: Tensor) -> None:
        """Return nothing: which map a box takes its features from is not known."""
        return

    def distinct(
        self, boxes: Sequence[Tensor], pixel_px: PixelSizes = None
    ) -> tuple[list[Tensor], Tensor | None]:
        """Return each image's boxes; which of them have equal features is not known."""
        return list(boxes), None


def pyramid_level(boxes: Tensor, strides: Sequence[float]) -> Tensor:
    """Return which map of a feature pyramid each box takes its features from.

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


def nearest_copy(boxes: Tensor, strides: Sequence[float]) -> Tensor:
    """Return which of several sizes of an image each box takes its features from.

    It is the one where the box's area comes nearest to 224 x 224 pixels, as in Fast R-CNN's program.

    Args:
        boxes: (R, 4) boxes in pixels of the largest copy.
        strides: pixels of the largest copy per cell of each copy's map, the largest copy first.

    Returns:
        (R,) int64 indices into `strides`.

    Example:
        >>> sizes = torch.tensor([10.0, 224.0, 448.0, 2000.0])
        >>> nearest_copy(torch.stack([0 * sizes, 0 * sizes, sizes, sizes], 1), (16, 32))
        tensor([0, 0, 1, 1])
    """
    return _nearest((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]), strides, 2)


def nearest_side(boxes: Tensor, strides: Sequence[float]) -> Tensor:
    """Return the same by the root of the area: the one where it is nearest to 224, as in SPP-net's program.

    Args:
        boxes: (R, 4) boxes in pixels of the largest copy.
        strides: pixels of the largest copy per cell of each copy's map, the largest copy first.

    Returns:
        (R,) int64 indices into `strides`.

    Example:
        >>> sizes = torch.tensor([224.0, 298.0, 300.0])
        >>> boxes = torch.stack([0 * sizes, 0 * sizes, sizes, sizes], 1)
        >>> nearest_side(boxes, (16, 32)), nearest_copy(boxes, (16, 32))
        (tensor([0, 0, 1]), tensor([0, 1, 1]))
    """
    return _nearest(torch.sqrt((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])), strides, 1)


def _nearest(sizes: Tensor, strides: Sequence[float], power: int) -> Tensor:
    shrunk = torch.tensor([(strides[0] / stride) ** power for stride in strides], device=sizes.device)
    wrong_by = (sizes[:, None] * shrunk - float(CANONICAL_SIZE_PX) ** power).abs()
    return wrong_by.argmin(dim=1)
