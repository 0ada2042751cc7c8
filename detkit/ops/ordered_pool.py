"""Maximum pooling whose gradient is summed in the same order on each run, on a GPU too."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F


def needs_order(x: Tensor) -> bool:
    """Return whether sums over a tensor must not depend on which thread of a device is first.

    On the CPU they never do. On a GPU the usual kernels add up as threads come, and PyTorch refuses them
    where a training is to be deterministic.

    Example:
        >>> needs_order(torch.zeros(1))
        False
    """
    return x.device.type != "cpu" and torch.are_deterministic_algorithms_enabled()


def adaptive_max_pool(maps: Tensor, size: int) -> Tensor:
    """Return `torch.nn.functional.adaptive_max_pool2d`, whose gradient PyTorch cannot sum in order on a GPU.

    Args:
        maps: (B, C, H, W).
        size: bins along each side.

    Returns:
        (B, C, size, size).

    Example:
        >>> adaptive_max_pool(torch.arange(6.0).view(1, 1, 2, 3), 2)
        tensor([[[[1., 2.],
                  [4., 5.]]]])
    """
    if torch.compiler.is_exporting():  # ONNX has no such operator, and a network sees maps of one size here
        return _by_slices(_by_slices(maps, size, 2), size, 3)
    pool = OrderedMaxPool.apply if needs_order(maps) else F.adaptive_max_pool2d
    pooled: Tensor = pool(maps, size)
    return pooled


def _by_slices(maps: Tensor, size: int, dim: int) -> Tensor:
    """Return the maxima over bins along a dimension, of which each begins and ends as PyTorch has it."""
    length = maps.shape[dim]
    bins = [(i * length // size, -(-(i + 1) * length // size)) for i in range(size)]
    return torch.stack([maps.narrow(dim, a, b - a).amax(dim) for a, b in bins], dim)


class OrderedMaxPool(torch.autograd.Function):
    """`adaptive_max_pool` where order matters; the same numbers, on any device."""

    @staticmethod
    def forward(ctx: Any, maps: Tensor, size: int) -> Tensor:
        """Return (B, C, size, size) maxima."""
        pooled, places = F.adaptive_max_pool2d(maps, size, return_indices=True)
        plane = torch.arange(maps.shape[0] * maps.shape[1], device=maps.device).view(*maps.shape[:2], 1, 1)
        ctx.save_for_backward(places + plane * (maps.shape[2] * maps.shape[3]))
        ctx.shape = maps.shape
        return pooled

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradient of the maps."""
        (places,) = ctx.saved_tensors
        return sum_at(places, grad, ctx.shape), None


class OrderedRoIPool(torch.autograd.Function):
    """`torchvision.ops.roi_pool` where order matters; the same numbers, on any device."""

    @staticmethod
    def forward(ctx: Any, maps: Tensor, regions: Tensor, size: int, scale: float) -> Tensor:
        """Return (R, C, size, size) maxima of (R, 5) regions, the image's index before the box."""
        pooled: Tensor
        pooled, places = torch.ops.torchvision.roi_pool(maps, regions, scale, size, size)
        first = regions[:, :1].long() * maps.shape[1] + torch.arange(maps.shape[1], device=maps.device)
        cells = places + first[:, :, None, None] * (maps.shape[2] * maps.shape[3])
        # A bin outside the map has no maximum; its gradient goes behind the last cell, and is left there.
        ctx.save_for_backward(torch.where(places < 0, maps.numel(), cells))
        ctx.shape = maps.shape
        return pooled

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradient of the maps."""
        (places,) = ctx.saved_tensors
        return sum_at(places, grad, ctx.shape), None, None, None


def sum_at(places: Tensor, values: Tensor, shape: torch.Size) -> Tensor:
    """Return a tensor with, at each place, the sum of the values sent there, taken in order.

    Args:
        places: (...) places, counted through; one behind the last is left out.
        values: as many.
        shape: of the result.

    Example:
        >>> sum_at(torch.tensor([3, 0, 3]), torch.ones(3), torch.Size((2, 2)))
        tensor([[1., 0.],
                [0., 2.]])
    """
    kind = torch.promote_types(values.dtype, torch.float32)
    total = values.new_zeros(shape.numel() + 1, dtype=kind)
    total.index_add_(0, places.flatten(), values.flatten().to(kind))
    return total[:-1].view(shape).to(values.dtype)
