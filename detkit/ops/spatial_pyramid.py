"""Spatial pyramid pooling: the maxima of a region over grids of several sizes, as one vector."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from detkit.ops.regions import require_regions
from detkit.ops.roi_pool import roi_pool


def pyramid_cells(boxes: Tensor, scale: float, shift: float = 0.0) -> Tensor:
    """Return the cells that a region's edges are nearest to; halfway it is the inner one.

    RoIPool goes outwards halfway, away from zero. The last cell can come to lie before the first.

    Args:
        boxes: (R, 4) boxes of inclusive pixels.
        scale: cells per pixel, such as 1/16.
        shift: how many cells to the right and down the middle of a cell lies of pixel 0, 16, 32, ...: 0 where
            every layer is padded by half its kernel, and 7.5/16 behind VGG's four poolings without padding.

    Returns:
        (R, 4) int64 first and last column and row.

    Example:
        >>> pyramid_cells(torch.tensor([[8.0, 7.0, 24.0, 25.0]]), 1 / 16)
        tensor([[1, 0, 1, 2]])

    Reference: He et al., Spatial Pyramid Pooling, ECCV 2014, appendix A.
    """
    # Apple's GPUs have no float64.
    places = boxes.to(torch.float32 if boxes.device.type == "mps" else torch.float64) * scale - shift
    return torch.cat(((places[:, :2] + 0.5).floor(), (places[:, 2:] - 0.5).ceil()), dim=1).to(torch.int64)


def spatial_pyramid_pool(
    features: Tensor,
    boxes: Tensor,
    image: Tensor,
    scale: float,
    levels: Sequence[int],
    shift: float = 0.0,
) -> Tensor:
    """Return the maxima of each region over n x n bins, for every n of a pyramid.

    A region covers whole cells (`pyramid_cells`), at least one: it is held within the map, and where its
    last cell lies before its first it is the one between. Bin i of n covers the cells from
    floor(i · w / n) to before ceil((i + 1) · w / n); none is empty.

    Regions of whole cells are pooled by RoIPool as by the pyramid, so it does the work, on all devices.

    Args:
        features: (B, C, H, W) feature maps of any floating type, also of autocast.
        boxes: (R, 4) boxes of inclusive pixels; no gradient flows to them.
        image: (R,) index in [0, B) of the map each region lies on.
        scale: cells per pixel, such as 1/16.
        levels: bins along each side; the paper takes 6, 3, 2 and 1, which are 50 bins together.
        shift: of the cells' middles; see `pyramid_cells`.

    Returns:
        (R, C · bins, 1, 1): for each level in turn, channel by channel, its bins row by row.

    Raises:
        UserError: shapes do not fit, or an index in `image` has no map.

    Example:
        >>> column = torch.arange(8.0).expand(1, 1, 8, 8)
        >>> regions, image = torch.tensor([[0.0, 0.0, 56.0, 56.0]]), torch.tensor([0])
        >>> spatial_pyramid_pool(column, regions, image, 1 / 8, (2, 1)).flatten().tolist()
        [3.0, 7.0, 3.0, 7.0, 7.0]

    Reference: He et al., Spatial Pyramid Pooling, ECCV 2014.
    """
    require_regions(features, boxes, image)
    height, width = features.shape[2:]
    last = boxes.new_tensor([width - 1, height - 1], dtype=torch.int64)
    first, end = pyramid_cells(boxes, scale, shift).clamp(min=0).split(2, dim=1)  # type: ignore[no-untyped-call]
    first, end = torch.minimum(first, last), torch.minimum(end, last)
    middle = torch.div(first + end, 2, rounding_mode="floor")
    turned = end < first
    cells = torch.cat((torch.where(turned, middle, first), torch.where(turned, middle, end)), dim=1)
    regions = cells.to(torch.promote_types(features.dtype, torch.float32))
    pooled = [roi_pool(features, regions, image, 1.0, level).flatten(1) for level in levels]
    return torch.cat(pooled, dim=1)[:, :, None, None]
