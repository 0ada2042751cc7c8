"""RoIAlign: the mean of bilinear samples in each bin of a region, without rounding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from detkit.ops.kernels.channels_last import channels_last_bits, empty_channels_last
from detkit.ops.kernels.roi_align_loops import align_regions, narrow_rows, spread_gradient
from detkit.ops.ordered_pool import needs_order
from detkit.ops.ordered_roi_align import OrderedRoIAlign
from detkit.ops.regions import require_known_images, require_regions, rows_of_levels, runs_plainly
from detkit.runtime.compiled import run_all

_REGIONS_AT_ONCE = 16
"""Regions a thread takes at a time."""

_BAND_BYTES = 1 << 19
"""Memory of the rows whose gradient a thread sums at a time; it fits in a core's own cache."""


def roi_align(
    features: Tensor,
    boxes: Tensor,
    image: Tensor,
    scale: float,
    size: int,
    sampling_ratio: int,
    aligned: bool,
) -> Tensor:
    """Return a grid of features for each region, bilinearly sampled and averaged over each bin.

    The numbers are those of `torchvision.ops.roi_align`, which does the work on other devices than the
    CPU. On the CPU all of PyTorch's threads share the work, maps in channels-last memory format are read
    in place, sums are float32 (float64 for float64 maps), and the gradient does not depend on the number
    of threads.

    Args:
        features: (B, C, H, W) feature maps of any floating type, also of autocast.
        boxes: (R, 4) corner boxes in pixels; no gradient flows to them. Samples more than a cell outside
            the map are 0.
        image: (R,) index in [0, B) of the map each region lies on.
        scale: cells per pixel, such as 1/16.
        size: bins along each side.
        sampling_ratio: samples along each side of a bin; 0 takes as many as the bin has cells.
        aligned: shift by half a cell, so that a sample stands for the area around it; False is the first
            version, which also makes regions at least one cell wide and high.

    Returns:
        (R, C, size, size) of the type of `features`, in channels-last memory format on the CPU.

    Raises:
        UserError: shapes do not fit, or an index in `image` has no map.

    Example:
        >>> column = torch.arange(8.0).expand(1, 1, 8, 8)
        >>> boxes = torch.tensor([[16.0, 16.0, 48.0, 48.0]])
        >>> roi_align(column, boxes, torch.tensor([0]), 1 / 8, 2, 2, True)[0, 0]
        tensor([[2.5000, 4.5000],
                [2.5000, 4.5000]])

    Reference: He et al., Mask R-CNN, ICCV 2017; `aligned` after Wu et al., Detectron2.
    """
    return roi_align_pyramid(
        [features], boxes, image, torch.zeros_like(image), [scale], size, sampling_ratio, aligned
    )


def roi_align_pyramid(
    maps: Sequence[Tensor],
    boxes: Tensor,
    image: Tensor,
    level: Tensor,
    scales: Sequence[float],
    size: int,
    sampling_ratio: int,
    aligned: bool,
) -> Tensor:
    """Return what `roi_align` makes of each region on its own level of a pyramid.

    The regions' features are written to their places at once; gathering them from the levels afterwards
    would copy the largest tensor behind the backbone twice.

    Args:
        maps: (B, C, H, W) feature maps of one type, one for each level.
        boxes: (R, 4) corner boxes in pixels.
        image: (R,) index in [0, B).
        level: (R,) index of the map each region takes its features from.
        scales: cells per pixel of each map.
        size: bins along each side.
        sampling_ratio: see `roi_align`.
        aligned: see `roi_align`.

    Returns:
        (R, C, size, size).

    Raises:
        UserError: shapes do not fit, or an index in `image` has no map.

    Example:
        >>> maps = [torch.zeros(1, 3, 8, 8), torch.ones(1, 3, 4, 4)]
        >>> boxes, level = torch.tensor([[0.0, 0.0, 8.0, 8.0]]).repeat(2, 1), torch.tensor([1, 0])
        >>> roi_align_pyramid(maps, boxes, 0 * level, level, (1.0, 0.5), 7, 2, True).mean((1, 2, 3))
        tensor([1., 0.])
    """
    for features in maps:
        require_regions(features, boxes, image)
    if maps[0].device.type != "cpu" or torch.compiler.is_exporting():
        return _standard(maps, boxes, image, level, scales, size, sampling_ratio, aligned)
    # The loops read bfloat16 themselves; float16, rare on a CPU, is converted.
    working = [features.float() if features.dtype == torch.float16 else features for features in maps]
    kind = torch.float64 if working[0].dtype == torch.float64 else torch.float32
    scale = torch.tensor(scales, dtype=kind)[level][:, None]
    cells = boxes.detach().to(kind) * scale - (0.5 if aligned else 0.0)
    align = _align_loops if runs_plainly(*working) else _align
    pooled: Tensor = align(working, cells, image.to(torch.int64), level, size, sampling_ratio, aligned)
    return pooled.to(maps[0].dtype)


def _standard(
    maps: Sequence[Tensor],
    boxes: Tensor,
    image: Tensor,
    level: Tensor,
    scales: Sequence[float],
    size: int,
    sampling_ratio: int,
    aligned: bool,
) -> Tensor:
    """Pool by torchvision's operator, which knows one map."""
    from torchvision.ops import roi_align  # late, as in `nms`

    regions = torch.cat((image[:, None].to(boxes), boxes), dim=1).float()

    def pool(features: Tensor, own: Tensor, scale: float) -> Tensor:
        # torchvision's own way to a gradient in order must be compiled, and sorts gigabytes.
        align = OrderedRoIAlign.apply if needs_order(features) else roi_align
        pooled: Tensor = align(features.float(), own, size, scale, sampling_ratio, aligned)
        return pooled.to(features.dtype)

    if len(maps) == 1:
        return pool(maps[0], regions, scales[0])
    rows = rows_of_levels(level, len(maps))
    parts = [pool(*of_level) for of_level in zip(maps, [regions[own] for own in rows], scales, strict=True)]
    if torch.compiler.is_exporting():  # how many there are of each level is not known, but of all
        pooled = parts[0].new_zeros((boxes.shape[0], *parts[0].shape[1:]))
        for own, part in zip(rows, parts, strict=True):
            pooled = pooled.index_copy(0, own, part)
        return pooled
    return torch.cat(parts)[torch.argsort(torch.cat(rows))]


def _align_loops(
    maps: Sequence[Tensor],
    boxes: Tensor,
    image: Tensor,
    level: Tensor,
    size: int,
    sampling_ratio: int,
    aligned: bool,
) -> Tensor:
    num, (batch, channels, *_) = len(boxes), maps[0].shape
    pooled = empty_channels_last((num, channels, size, size), maps[0].dtype)
    require_known_images(image, batch)
    if pooled.numel() == 0 or any(features.numel() == 0 for features in maps):
        return pooled.zero_()
    tables = [table.reshape(*table.shape[:2], -1) for table in map(channels_last_bits, maps)]
    target = channels_last_bits(pooled).reshape(-1, channels)
    cells, images, levels = boxes.contiguous().numpy(), image.contiguous().numpy(), level.numpy()
    parts = [
        (table, own[begin : begin + _REGIONS_AT_ONCE])
        for number, table in enumerate(tables)
        for own in (np.flatnonzero(levels == number),)
        for begin in range(0, len(own), _REGIONS_AT_ONCE)
    ]

    def align(part: int) -> None:
        table, chosen = parts[part]
        align_regions(table, cells, images, sampling_ratio, aligned, target, size, chosen)

    run_all(align, range(len(parts)), torch.get_num_threads())
    return pooled


_align = torch.library.custom_op("detkit::roi_align", mutates_args=(), device_types="cpu")(_align_loops)


@_align.register_fake
def _(maps: Sequence[Tensor], boxes: Tensor, image: Tensor, level: Tensor, size: int, *how: Any) -> Tensor:
    shape, like = (boxes.shape[0], maps[0].shape[1], size, size), maps[0]
    return torch.empty(shape, dtype=like.dtype, device=like.device, memory_format=torch.channels_last)


@torch.library.custom_op("detkit::roi_align_gradient", mutates_args=(), device_types="cpu")
def _align_gradient(
    grad: Tensor, boxes: Tensor, image: Tensor, shape: list[int], sampling_ratio: int, aligned: bool
) -> Tensor:
    num, channels, height, width = shape
    spread = empty_channels_last((num, channels, height, width), grad.dtype)
    if grad.numel() == 0 or spread.numel() == 0:
        return spread.zero_()
    source = channels_last_bits(grad).reshape(-1, channels)
    target = channels_last_bits(spread).reshape(num, height, -1)
    cells, images = boxes.contiguous().numpy(), image.contiguous().numpy()
    rows = max(1, _BAND_BYTES // (width * channels * cells.itemsize))
    bands = -(-height // rows)

    def spread_band(part: int) -> None:
        own, top = part // bands, part % bands * rows
        band = target[own, top : top + rows]
        total = band if band.dtype == cells.dtype else np.empty(band.shape, cells.dtype)
        spread_gradient(
            source, cells, images, own, (height, width), sampling_ratio, aligned, total, top, grad.shape[2]
        )
        if total is not band:
            narrow_rows(total, band)

    run_all(spread_band, range(num * bands), torch.get_num_threads())
    return spread


@_align_gradient.register_fake
def _(grad: Tensor, boxes: Tensor, image: Tensor, shape: list[int], *how: Any) -> Tensor:
    return torch.empty(shape, dtype=grad.dtype, device=grad.device, memory_format=torch.channels_last)


def _remember(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    maps, boxes, image, level, _, *ctx.options = inputs
    ctx.save_for_backward(boxes, image, level)
    ctx.shapes = [features.shape for features in maps]


def _differentiate(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    boxes, image, level = ctx.saved_tensors
    # Where a region takes nothing from a map it lies on no image of it.
    owners = [torch.where(level == number, image, -1) for number in range(len(ctx.shapes))]
    gradients = [
        _align_gradient(grad, boxes, owner, shape, *ctx.options)
        for owner, shape in zip(owners, ctx.shapes, strict=True)
    ]
    return gradients, None, None, None, None, None, None


_align.register_autograd(_differentiate, setup_context=_remember)
