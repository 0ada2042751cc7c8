"""Regions' features as rows for a fully connected layer."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from detkit.ops.channels_last import channels_last_bits, empty_channels_last
from detkit.ops.loops import compiled, run_all

_REGIONS_AT_ONCE = 16
"""Regions a thread takes at a time."""

_CHANNELS_AT_ONCE = 16
"""Channels turned at a time: as many float32 as a line of the cache holds."""


def region_rows(regions: Tensor) -> Tensor:
    """Return `regions.flatten(1)`, channel by channel as published fully connected layers want it.

    On the CPU, features in channels-last memory format are turned region by region in the cache, which takes
    half the time of PyTorch's copy: 0.11 instead of 0.25 s for the 2,000 regions of VGG16, on one core of an
    AMD EPYC (Zen 4), where RoIPool itself takes 0.14.

    Args:
        regions: (R, C, H, W) features.

    Returns:
        (R, C * H * W).

    Example:
        >>> regions = torch.arange(8.0).reshape(1, 2, 2, 2).contiguous(memory_format=torch.channels_last)
        >>> region_rows(regions)
        tensor([[0., 1., 2., 3., 4., 5., 6., 7.]])
    """
    # Compiled loops know no float16, which is rare on a CPU.
    plain = regions.device.type != "cpu" or regions.is_contiguous() or regions.dtype == torch.float16
    if plain or torch.compiler.is_exporting():
        return regions.flatten(1)
    rows: Tensor = _rows(regions)
    return rows


@torch.library.custom_op("detkit::region_rows", mutates_args=(), device_types="cpu")
def _rows(regions: Tensor) -> Tensor:
    num, channels, height, width = regions.shape
    rows = empty_channels_last((num, channels * height * width, 1, 1), regions.dtype).flatten(1)
    if rows.numel() == 0:
        return rows
    source = channels_last_bits(regions).reshape(num, height * width, channels)
    target = channels_last_bits(rows[:, :, None, None]).reshape(num, channels, height * width)

    def turn(begin: int) -> None:
        turn_regions(source, target, begin, min(begin + _REGIONS_AT_ONCE, num), _CHANNELS_AT_ONCE)

    run_all(turn, range(0, num, _REGIONS_AT_ONCE), torch.get_num_threads())
    return rows


@_rows.register_fake
def _(regions: Tensor) -> Tensor:
    return regions.new_empty((regions.shape[0], regions.shape[1] * regions.shape[2] * regions.shape[3]))


def _remember(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    (regions,) = inputs
    ctx.shape = regions.shape


def _differentiate(ctx: Any, grad: Tensor) -> Tensor:
    return grad.reshape(ctx.shape)


_rows.register_autograd(_differentiate, setup_context=_remember)


@compiled
def turn_regions(source: NDArray[Any], target: NDArray[Any], begin: int, end: int, at_once: int) -> None:
    """Turn the cells and channels of regions.

    Args:
        source: (R, cells, C).
        target: (R, C, cells) to be filled.
        begin: first region.
        end: last region plus one.
        at_once: channels turned together.
    """
    # Places are unsigned: a signed one may count from the end, and to look costs more than the copy.
    cells, channels = np.uint64(source.shape[1]), np.uint64(source.shape[2])
    step = np.uint64(at_once)
    flat, turned = source.reshape(-1), target.reshape(-1)
    for region in range(np.uint64(begin), np.uint64(end)):
        base = region * cells * channels
        for first in range(np.uint64(0), channels, step):
            last = min(first + step, channels)
            for cell in range(cells):
                line = base + cell * channels
                for channel in range(first, last):
                    turned[base + channel * cells + cell] = flat[line + channel]
