"""Convolution whose weights get their gradient as fast as the rest is computed."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

_PLACES_AT_ONCE = 2048
"""Places whose windows are copied out together: enough for a matrix product, few enough for a cache."""

_FEWEST_CHANNELS, _FEWEST_NUMBERS = 64, 400_000
"""With fewer channels, or numbers in the maps, copying the windows takes longer than what is saved."""


def convolve(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: tuple[int, ...],
    padding: tuple[int, ...],
    dilation: tuple[int, ...],
) -> Tensor:
    """Return `torch.nn.functional.conv2d`, with a faster gradient of the weights where that pays.

    On processors without AVX-512 the library that PyTorch calls computes this gradient, of a channels-last
    map and a kernel larger than 1, several times slower than the convolution itself. As products of matrices
    it is nearly as fast as that.

    Args:
        x: (B, C_in, H, W) maps.
        weight: (C_out, C_in, height, width).
        bias: (C_out,) or None.
        stride: down and across.
        padding: above and below, left and right.
        dilation: down and across; the gradient is PyTorch's unless both are 1.

    Returns:
        (B, C_out, H', W').
    """
    if torch.compiler.is_compiling() or max(dilation) > 1 or not _pays(x, weight):
        return F.conv2d(x, weight, bias, stride, padding, dilation)
    result: Tensor = _Convolution.apply(x, weight, bias, stride, padding)
    return result


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
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        stride: tuple[int, ...],
        padding: tuple[int, ...],
    ) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.stride, ctx.padding = stride, padding
        return F.conv2d(x, weight, bias, stride, padding)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        of_x = of_weight = of_bias = None
        if ctx.needs_input_grad[0]:
            of_x = _input_gradient(grad, x, weight, ctx.stride, ctx.padding)
        if ctx.needs_input_grad[1]:
            of_weight = weight_gradient(grad, x, weight.shape[2:], ctx.stride, ctx.padding)
            if weight.is_contiguous():
                of_weight = of_weight.contiguous()
        if ctx.needs_input_grad[2]:
            of_bias = grad.sum((0, 2, 3))
        return of_x, of_weight, of_bias, None, None


def _input_gradient(
    grad: Tensor, x: Tensor, weight: Tensor, stride: tuple[int, ...], padding: tuple[int, ...]
) -> Tensor:
    of_x: Tensor = torch.ops.aten.convolution_backward(
        grad, x, weight, None, stride, padding, (1, 1), False, (0, 0), 1, (True, False, False)
    )[0]
    return of_x


def _pays(x: Tensor, weight: Tensor) -> bool:
    return (
        weight.requires_grad
        and torch.is_grad_enabled()
        and x.device.type == "cpu"
        and not torch.is_autocast_enabled("cpu")
        and x.dtype == weight.dtype == torch.float32
        and x.is_contiguous(memory_format=torch.channels_last)
        and x.shape[1] >= _FEWEST_CHANNELS
        and x.numel() >= _FEWEST_NUMBERS
        and weight.shape[2] * weight.shape[3] > 1
        and _library_is_slow()
    )


@cache
def _library_is_slow() -> bool:
    return torch.backends.cpu.get_cpu_capability() == "AVX2"
