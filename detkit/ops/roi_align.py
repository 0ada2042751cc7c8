"""RoIAlign: the mean of bilinear samples in each bin of a region, without rounding."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torchvision
from torch import Tensor

from detkit.ops.channels_last import channels_last_bits, empty_channels_last
from detkit.ops.loops import run_all
from detkit.ops.regions import require_known_images, require_regions
from detkit.ops.roi_align_loops import align_regions, narrow_rows, spread_gradient

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
    require_regions(features, boxes, image)
    if features.device.type != "cpu" or torch.compiler.is_exporting():
        regions = torch.cat((image[:, None].to(boxes), boxes), dim=1).float()
        pooled: Tensor = torchvision.ops.roi_align(
            features.float(), regions, size, scale, sampling_ratio, aligned
        )
        return pooled.to(features.dtype)
    # The loops read bfloat16 themselves; float16, rare on a CPU, is converted.
    working = features.float() if features.dtype == torch.float16 else features
    kind = torch.float64 if working.dtype == torch.float64 else torch.float32
    cells = boxes.detach().to(kind) * scale - (0.5 if aligned else 0.0)
    pooled = _align(working, cells, image.to(torch.int64), size, sampling_ratio, aligned)
    return pooled.to(features.dtype)


@torch.library.custom_op("detkit::roi_align", mutates_args=(), device_types="cpu")
def _align(
    features: Tensor, boxes: Tensor, image: Tensor, size: int, sampling_ratio: int, aligned: bool
) -> Tensor:
    num, channels = len(boxes), features.shape[1]
    pooled = empty_channels_last((num, channels, size, size), features.dtype)
    require_known_images(image, len(features))
    if pooled.numel() == 0 or features.numel() == 0:
        return pooled.zero_()
    table = channels_last_bits(features)
    table = table.reshape(*table.shape[:2], -1)
    target = channels_last_bits(pooled).reshape(-1, channels)
    cells, images = boxes.contiguous().numpy(), image.contiguous().numpy()

    def align(begin: int) -> None:
        end = min(begin + _REGIONS_AT_ONCE, num)
        align_regions(table, cells, images, sampling_ratio, aligned, target, size, begin, end)

    run_all(align, range(0, num, _REGIONS_AT_ONCE), torch.get_num_threads())
    return pooled


@_align.register_fake
def _(
    features: Tensor, boxes: Tensor, image: Tensor, size: int, sampling_ratio: int, aligned: bool
) -> Tensor:
    shape = (boxes.shape[0], features.shape[1], size, size)
    return torch.empty(shape, dtype=features.dtype, device=features.device, memory_format=torch.channels_last)


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
def _(
    grad: Tensor, boxes: Tensor, image: Tensor, shape: list[int], sampling_ratio: int, aligned: bool
) -> Tensor:
    return torch.empty(shape, dtype=grad.dtype, device=grad.device, memory_format=torch.channels_last)


def _remember(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    features, boxes, image, _, *ctx.options = inputs
    ctx.save_for_backward(boxes, image)
    ctx.shape = features.shape


def _differentiate(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    return _align_gradient(grad, *ctx.saved_tensors, ctx.shape, *ctx.options), None, None, None, None, None


_align.register_autograd(_differentiate, setup_context=_remember)
