"""Convolution on the CPU, with and without gradients, by the fastest of several ways."""

from __future__ import annotations

import math
from functools import cache
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from detkit.ops.kernels.winograd import (
    count_tiles,
    winograd,
    winograd_input_gradient,
    winograd_weight_gradient,
)

_PLACES_AT_ONCE = 2048
"""Places whose windows are copied out together: enough for a matrix product, few enough for a cache."""

_FEWEST_CHANNELS, _FEWEST_NUMBERS = 64, 400_000
"""With fewer channels, or numbers in the maps, copying the windows takes longer than what is saved."""

_FEWEST_OF_TILES, _FEWEST_OF_TILES_BACK, _FEWEST_TILES = 192, 128, 100
"""With fewer channels, or with fewer tiles, Winograd's way takes longer there and back than it saves between.

The gradient of the weights, which takes longer otherwise, pays with fewer channels.
"""

_FEWEST_OF_STEPS = 16
"""With fewer channels oneDNN writes past its memory in the backward of a 1x1 convolution with a stride.

Seen with PyTorch 2.14 on processors with AVX-512 and channels-last maps: the process dies.
"""

_Way = Literal["library", "products", "tiles"]


class _Plan(NamedTuple):
    """How to convolve.

    Attributes:
        stride: down and across.
        padding: above and below, left and right.
        maps: the way to the results, and to the gradient of the maps.
        weight: the way to the gradient of the weights.
    """

    stride: tuple[int, ...]
    padding: tuple[int, ...]
    maps: _Way
    weight: _Way


class Conv2d(nn.Conv2d):
    """`torch.nn.Conv2d`, whose weights get their gradient by `convolve`."""

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if isinstance(self.padding, str) or self.padding_mode != "zeros" or self.groups != 1:
            result: Tensor = super()._conv_forward(input, weight, bias)
            return result
        return convolve(input, weight, bias, self.stride, self.padding, self.dilation)


def convolve(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: tuple[int, ...],
    padding: tuple[int, ...],
    dilation: tuple[int, ...],
) -> Tensor:
    """Return `torch.nn.functional.conv2d`, on a CPU by a faster way where one pays.

    The maps and the weights must be float32 for that, and the maps in channels-last format.
    Kernels of 3x3 with a stride of 1 and many channels are convolved, and get their gradients, by Winograd's
    method. Other kernels than 1x1 get the gradient of their weights as products of matrices on processors
    without AVX-512, where the library that PyTorch calls takes several times as long for it as for the
    convolution itself.

    Args:
        x: (B, C_in, H, W) maps.
        weight: (C_out, C_in, height, width).
        bias: (C_out,) or None.
        stride: down and across.
        padding: above and below, left and right.
        dilation: down and across; anything but 1 is left to PyTorch.

    Returns:
        (B, C_out, H', W').
    """
    if (
        weight.shape[1] < _FEWEST_OF_STEPS
        and max(stride) > 1
        and weight.shape[2:] == (1, 1)
        and not any(padding)
    ):
        last = x.is_contiguous(memory_format=torch.channels_last)
        x = x[:, :, :: stride[0], :: stride[1]]
        x = x.contiguous(memory_format=torch.channels_last if last else torch.contiguous_format)
        stride = (1, 1)
    if torch.compiler.is_compiling() or max(dilation) > 1 or not _is_ours(x, weight):
        return F.conv2d(x, weight, bias, stride, padding, dilation)
    plan = _plan(x, weight, stride, padding)
    if torch.is_grad_enabled() and (
        (weight.requires_grad and plan.weight != "library")
        or (
            plan.maps != "library"
            and any(each is not None and each.requires_grad for each in (x, weight, bias))
        )
    ):
        result: Tensor = _Convolution.apply(x, weight, bias, plan)
        return result
    return _forward(x, weight, bias, plan)


def weight_gradient(
    grad: Tensor, x: Tensor, size: tuple[int, ...], stride: tuple[int, ...], padding: tuple[int, ...]
) -> Tensor:
    """Return the gradient of a convolution's weights as a sum of matrix products.

    Args:
        grad: (B, C_out, H', W') gradient of the result, in channels-last format.
        x: (B, C_in, H, W) maps, in channels-last format.
        size: height and width of the kernel.
        stride: down and across.
        padding: above and below, left and right.

    Returns:
        (C_out, C_in, height, width), in channels-last format.
    """
    down, across = padding
    padded = F.pad(x.permute(0, 2, 3, 1), (0, 0, across, across, down, down)).contiguous()
    returned = grad.permute(0, 2, 3, 1).contiguous()
    num, out_height, out_width, channels_out = returned.shape
    row_of_window = size[1] * x.shape[1]  # cells side by side, and their channels, lie together in memory
    image_step, row_step, cell_step, _ = padded.stride()
    steps = (image_step, stride[0] * row_step, stride[1] * cell_step, row_step, 1)
    images = min(num, max(1, _PLACES_AT_ONCE // (out_height * out_width)))
    rows = min(out_height, max(1, _PLACES_AT_ONCE // out_width))
    memory = padded.new_empty(images * rows * out_width * size[0] * row_of_window)
    total = padded.new_zeros(channels_out, size[0] * row_of_window)
    for first in range(0, num, images):
        for top in range(0, out_height, rows):
            places = returned[first : first + images, top : top + rows]
            shape = (*places.shape[:3], size[0], row_of_window)
            windows = memory[: math.prod(shape)].view(shape)
            windows.copy_(padded.as_strided(shape, steps, first * steps[0] + top * steps[1]))
            flat = windows.view(-1, total.shape[1])
            # `addmm_` would do the same, and escape PyTorch's counter of operations.
            torch.addmm(total, places.reshape(-1, channels_out).t(), flat, out=total)
    return total.view(channels_out, *size, x.shape[1]).permute(0, 3, 1, 2)


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, plan: _Plan) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.plan = plan
        return _forward(x, weight, bias, plan)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        of_x = of_weight = of_bias = None
        if ctx.needs_input_grad[0]:
            of_x = _input_gradient(grad, x, weight, ctx.plan)
        if ctx.needs_input_grad[1]:
            of_weight = _weight_gradient(grad, x, weight, ctx.plan)
            if weight.is_contiguous():
                of_weight = of_weight.contiguous()
        if ctx.needs_input_grad[2]:
            of_bias = grad.sum((0, 2, 3))
        return of_x, of_weight, of_bias, None


def _forward(x: Tensor, weight: Tensor, bias: Tensor | None, plan: _Plan) -> Tensor:
    if plan.maps == "tiles":
        return winograd(x, weight, bias, plan.padding)
    return F.conv2d(x, weight, bias, plan.stride, plan.padding)


def _input_gradient(grad: Tensor, x: Tensor, weight: Tensor, plan: _Plan) -> Tensor:
    if plan.maps == "tiles":
        return winograd_input_gradient(grad, weight, plan.padding)
    return _of_library(grad, x, weight, plan, 0)


def _weight_gradient(grad: Tensor, x: Tensor, weight: Tensor, plan: _Plan) -> Tensor:
    if plan.weight == "tiles":
        return winograd_weight_gradient(grad, x, plan.padding)
    if plan.weight == "products":
        return weight_gradient(grad, x, weight.shape[2:], plan.stride, plan.padding)
    return _of_library(grad, x, weight, plan, 1)


def _of_library(grad: Tensor, x: Tensor, weight: Tensor, plan: _Plan, wanted: int) -> Tensor:
    """Return the gradient of the maps (0) or of the weights (1)."""
    gradients: tuple[Tensor, ...] = torch.ops.aten.convolution_backward(
        grad, x, weight, None, plan.stride, plan.padding, (1, 1), False, (0, 0), 1,
        (wanted == 0, wanted == 1, False),
    )  # fmt: skip
    return gradients[wanted]


def _is_ours(x: Tensor, weight: Tensor) -> bool:
    return (
        x.device.type == "cpu"
        and not torch.is_autocast_enabled("cpu")
        and x.dtype == weight.dtype == torch.float32
        and x.is_contiguous(memory_format=torch.channels_last)
        and weight.shape[2] * weight.shape[3] > 1
    )


def _plan(x: Tensor, weight: Tensor, stride: tuple[int, ...], padding: tuple[int, ...]) -> _Plan:
    channels = min(weight.shape[:2])
    in_tiles = (
        weight.shape[2:] == (3, 3)
        and max(stride) == 1
        and max(padding) <= 2
        and count_tiles(x, padding) >= _FEWEST_TILES
    )
    maps: _Way = "tiles" if in_tiles and channels >= _FEWEST_OF_TILES else "library"
    by_weight: _Way = "library"
    if in_tiles and channels >= _FEWEST_OF_TILES_BACK:
        by_weight = "tiles"
    elif _library_is_slow() and x.shape[1] >= _FEWEST_CHANNELS and x.numel() >= _FEWEST_NUMBERS:
        by_weight = "products"
    return _Plan(stride, padding, maps, by_weight)


@cache
def _library_is_slow() -> bool:
    return torch.backends.cpu.get_cpu_capability() == "AVX2"
