from __future__ import annotations

import pytest
import torch
from torch import nn

from detkit.models.response_norm import LocalResponseNorm


@pytest.mark.parametrize("size", [1, 2, 3, 5])
@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
def test_shifts_give_the_bits_of_pytorch(size: int, memory: torch.memory_format) -> None:
    values = torch.randn(2, 7, 9, 8, generator=torch.Generator().manual_seed(0)) * 30
    ours, theirs = (values.contiguous(memory_format=memory).requires_grad_() for _ in range(2))
    norm, peer = LocalResponseNorm(size, 5e-5, 0.75), nn.LocalResponseNorm(size, 5e-5, 0.75)
    found, expected = norm.by_shifts(ours), peer(theirs)
    assert torch.equal(found, expected)
    assert torch.equal(norm(ours), expected)
    assert found.is_contiguous(memory_format=memory)
    found.sum().backward()
    expected.sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-5, atol=1e-6)
