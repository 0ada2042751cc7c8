from __future__ import annotations

import pytest
import torch

from detkit.ops.kernels.channels_last import empty_channels_last


@pytest.mark.parametrize(("width", "large"), [(15, False), (16, True), (17, True)])
@pytest.mark.parametrize(("dtype", "images"), [(torch.float32, 2), (torch.bfloat16, 4)])
def test_from_4_mib_on_numpy_has_the_memory(width: int, large: bool, dtype: torch.dtype, images: int) -> None:
    shape = (images, 1 << 10, 1 << 5, width)
    values = empty_channels_last(shape, dtype)
    assert (values.shape, values.dtype) == (shape, dtype)
    assert values.is_contiguous(memory_format=torch.channels_last)
    assert values.untyped_storage().resizable() != large
