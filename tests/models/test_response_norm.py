"""Response norms, against PyTorch's and against loops over cells."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from detkit.models.response_norm import LocalResponseNorm, WithinChannelNorm
from tests.reference.caffe_layers import norm_across_channels, norm_within_channel


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


@pytest.mark.parametrize("shape", [(2, 3, 7, 9), (1, 5, 1, 4), (1, 2, 2, 2)])
@pytest.mark.parametrize("size", [1, 3, 5])
def test_norms_are_caffes_loops(size: int, shape: tuple[int, ...]) -> None:
    values = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 200
    for norm, by_hand in (
        (LocalResponseNorm(size, alpha=1e-4, beta=0.75), norm_across_channels),
        (WithinChannelNorm(size, alpha=1e-4), norm_within_channel),
    ):
        expected = by_hand(values.numpy(), size, 1e-4, 0.75)
        torch.testing.assert_close(norm(values), torch.from_numpy(expected))


@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
def test_within_a_channel_the_gradient_is_that_of_small_steps(memory: torch.memory_format) -> None:
    values = torch.randn(1, 2, 5, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 3
    given = values.contiguous(memory_format=memory).requires_grad_()
    assert torch.autograd.gradcheck(WithinChannelNorm(3, alpha=0.5), (given,))


def test_within_a_channel_float32_is_near_float64() -> None:
    values = torch.randn(1, 4, 20, 30, generator=torch.Generator().manual_seed(0)) * 1000
    norm = WithinChannelNorm(3, alpha=5e-5)
    torch.testing.assert_close(norm(values), norm(values.double()).float(), rtol=1e-6, atol=1e-4)
