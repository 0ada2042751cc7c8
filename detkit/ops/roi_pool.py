"""RoIPool: the maximum in each bin of a region whose edges are rounded to cells."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from detkit.ops.kernels.channels_last import channels_last_bits, empty_channels_last
from detkit.ops.kernels.roi_align_loops import narrow_rows
from detkit.ops.kernels.roi_pool_loops import FARTHEST, pool_regions, return_gradient
from detkit.ops.ordered_pool import OrderedRoIPool, needs_order
from detkit.ops.regions import require_known_images, require_regions, runs_plainly
from detkit.runtime.compiled import run_all

_REGIONS_AT_ONCE = 16
"""Regions a thread takes at a time."""

_CHANNELS_AT_ONCE = 128
"""Channels whose gradient a thread sums at a time; their maps fit in a core's own cache."""


def roi_pool(features: Tensor, boxes: Tensor, image: Tensor, scale: float, size: int) -> Tensor:
    """Return a grid of features for each region, the maximum over each bin.

    A region's edges are rounded to cells, half away from zero, and both belong to it, so that it is one
    cell wide and high at least; bins overlap where a cell lies in several. A bin outside the map is 0.
    Boxes of inclusive pixels, as in the papers, are given as they are.

    The numbers are those of `torchvision.ops.roi_pool`, bit by bit, which does the work on other devices
    than the CPU. On the CPU all of PyTorch's threads share the work, maps in channels-last memory format
    are read in place, and the gradient, which goes to the first maximum of each bin, does not depend on
    the number of threads.

    Args:
        features: (B, C, H, W) feature maps of any floating type, also of autocast.
        boxes: (R, 4) corner boxes in pixels; no gradient flows to them.
        image: (R,) index in [0, B) of the map each region lies on.
        scale: cells per pixel, such as 1/16.
        size: bins along each side.

    Returns:
        (R, C, size, size) of the type of `features`, in channels-last memory format on the CPU.

    Raises:
        UserError: shapes do not fit, or an index in `image` has no map.

    Example:
        >>> column = torch.arange(8.0).expand(1, 1, 8, 8)
        >>> roi_pool(column, torch.tensor([[16.0, 16.0, 40.0, 40.0]]), torch.tensor([0]), 1 / 8, 2)[0, 0]
        tensor([[3., 5.],
                [3., 5.]])

    Reference: Girshick, Fast R-CNN, ICCV 2015.
    """
    require_regions(features, boxes, image)
    if features.device.type != "cpu" or torch.compiler.is_exporting():
        from torchvision import ops  # late, as in `nms`

        regions = torch.cat((image[:, None].to(boxes), boxes), dim=1).float()
        pool = OrderedRoIPool.apply if needs_order(features) else ops.roi_pool
        pooled: Tensor = pool(features.float(), regions, size, scale)
        return pooled.to(features.dtype)
    # The loops read bfloat16 themselves; float16, rare on a CPU, is converted.
    working = features.float() if features.dtype == torch.float16 else features
    kind = torch.float64 if working.dtype == torch.float64 else torch.float32
    cells = boxes.detach().to(kind) * scale
    pool = _pool_loops if runs_plainly(working) else _pool
    pooled = pool(working, cells, image.to(torch.int64), size)
    return pooled.to(features.dtype)


def rounded_edges(boxes: Tensor, scale: float) -> Tensor:
    """Return the cells that RoIPool rounds the edges of regions to; equal ones have equal features.

    Args:
        boxes: (R, 4) corner boxes in pixels.
        scale: cells per pixel, such as 1/16.

    Returns:
        (R, 4) int64, rounded half away from zero.

    Example:
        >>> rounded_edges(torch.tensor([[-4.0, 3.9, 4.0, 12.0]]), 1 / 8)
        tensor([[-1,  0,  1,  2]])
    """
    cells = boxes.to(torch.float64 if boxes.dtype == torch.float64 else torch.float32) * scale
    size = cells.abs().clamp(max=FARTHEST)
    # A sum with 0.5 could be rounded up to the next whole number.
    nearest = size.floor() + (size - size.floor() >= 0.5)
    return torch.where(cells > 0, nearest, -nearest).to(torch.int64)


def _pool_loops(features: Tensor, boxes: Tensor, image: Tensor, size: int) -> Tensor:
    num, (_, channels, height, width) = len(boxes), features.shape
    pooled = empty_channels_last((num, channels, size, size), features.dtype)
    require_known_images(image, len(features))
    if pooled.numel() == 0 or features.numel() == 0:
        return pooled.zero_()
    table = channels_last_bits(features).reshape(-1, channels)
    target = channels_last_bits(pooled).reshape(-1, channels)
    cells, images = boxes.contiguous().numpy(), image.contiguous().numpy()
    lowest = float(np.finfo(cells.dtype).min)

    def pool(begin: int) -> None:
        end = min(begin + _REGIONS_AT_ONCE, num)
        pool_regions(table, cells, images, (height, width), lowest, target, size, begin, end)

    run_all(pool, range(0, num, _REGIONS_AT_ONCE), torch.get_num_threads())
    return pooled


_pool = torch.library.custom_op("detkit::roi_pool", mutates_args=(), device_types="cpu")(_pool_loops)


@_pool.register_fake
def _(features: Tensor, boxes: Tensor, image: Tensor, size: int) -> Tensor:
    shape = (boxes.shape[0], features.shape[1], size, size)
    return torch.empty(shape, dtype=features.dtype, device=features.device, memory_format=torch.channels_last)


@torch.library.custom_op("detkit::roi_pool_gradient", mutates_args=(), device_types="cpu")
def _pool_gradient(grad: Tensor, pooled: Tensor, features: Tensor, boxes: Tensor, image: Tensor) -> Tensor:
    num, channels, height, width = features.shape
    returned = empty_channels_last((num, channels, height, width), grad.dtype)
    if grad.numel() == 0 or returned.numel() == 0:
        return returned.zero_()
    source, best, table = (
        channels_last_bits(values).reshape(-1, channels) for values in (grad, pooled, features)
    )
    target = channels_last_bits(returned).reshape(num, height * width, channels)
    cells, images = boxes.contiguous().numpy(), image.contiguous().numpy()
    slices = -(-channels // _CHANNELS_AT_ONCE)

    def return_slice(part: int) -> None:
        own, first = part // slices, part % slices * _CHANNELS_AT_ONCE
        band = target[own, :, first : first + _CHANNELS_AT_ONCE]
        total = np.empty(band.shape, cells.dtype)
        limits, bins = (height, width), grad.shape[2]
        return_gradient(source, best, table, cells, images, own, limits, total, first, bins)
        narrow_rows(total, band)

    run_all(return_slice, range(num * slices), torch.get_num_threads())
    return returned


@_pool_gradient.register_fake
def _(grad: Tensor, pooled: Tensor, features: Tensor, boxes: Tensor, image: Tensor) -> Tensor:
    return torch.empty_like(features, dtype=grad.dtype, memory_format=torch.channels_last)


def _remember(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    features, boxes, image, _ = inputs
    ctx.save_for_backward(output, features, boxes, image)


def _differentiate(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    return _pool_gradient(grad, *ctx.saved_tensors), None, None, None


_pool.register_autograd(_differentiate, setup_context=_remember)
