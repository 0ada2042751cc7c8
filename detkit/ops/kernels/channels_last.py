"""Feature maps and region features as arrays with the channels of a cell side by side."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_HUGE_BYTES = 1 << 22
"""From this size NumPy asks the system for huge pages, as PyTorch does not by default."""


def channels_last_bits(values: Tensor) -> NDArray[Any]:
    """Return the memory of a (N, C, H, W) tensor as a contiguous (N, H, W, C) array.

    Nothing is copied if the tensor is in channels-last memory format. bfloat16, which NumPy lacks, comes
    as its uint16 bits.

    Example:
        >>> channels_last_bits(torch.ones(1, 2, 3, 4, dtype=torch.bfloat16))[0, 0, 0]
        array([16256, 16256], dtype=uint16)
    """
    table = values.detach().contiguous(memory_format=torch.channels_last).permute(0, 2, 3, 1).contiguous()
    array: NDArray[Any] = (table.view(torch.uint16) if table.dtype == torch.bfloat16 else table).numpy()
    return array


def empty_channels_last(shape: tuple[int, int, int, int], dtype: torch.dtype) -> Tensor:
    """Return an uninitialised (N, C, H, W) CPU tensor in channels-last memory format.

    A large one lies on huge pages where the system has them: touching 100 MB of fresh ordinary pages
    takes longer than computing what is written there.

    Example:
        >>> empty_channels_last((2, 3, 4, 5), torch.float32).stride()
        (60, 1, 15, 3)
    """
    num, channels, height, width = shape
    size = num * channels * height * width * dtype.itemsize
    if size < _HUGE_BYTES:
        return torch.empty(shape, dtype=dtype, memory_format=torch.channels_last)
    memory = torch.from_numpy(np.empty(size, np.uint8)).view(dtype)
    return memory.view(num, height, width, channels).permute(0, 3, 1, 2)
