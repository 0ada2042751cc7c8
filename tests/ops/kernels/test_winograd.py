"""Convolution by Winograd's method against PyTorch's, and its rounding against the plain sum's."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from detkit.ops.kernels import winograd as module
from detkit.ops.kernels.winograd import (
    count_tiles,
    winograd,
    winograd_input_gradient,
    winograd_weight_gradient,
)

CASES = [
    ((2, 3, 9, 13), 5, (1, 1)),  # the last tiles reach beyond the map
    ((1, 4, 8, 8), 3, (1, 1)),
    ((3, 2, 5, 6), 2, (0, 2)),
    ((1, 2, 3, 3), 2, (0, 0)),  # one result
    ((2, 2, 1, 1), 3, (1, 1)),
    ((5, 7, 30, 61), 3, (2, 1)),
]


def drawn(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(shape, dtype=dtype).to(memory_format=torch.channels_last)


@pytest.mark.parametrize("at_once", [51_200, 200, 1])
@pytest.mark.parametrize(("shape", "channels_out", "padding"), CASES)
def test_results_and_gradients_are_pytorchs(
    shape: tuple[int, ...],
    channels_out: int,
    padding: tuple[int, int],
    at_once: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_NUMBERS_AT_ONCE", at_once)
    torch.manual_seed(0)
    x, weight = drawn(*shape).requires_grad_(), drawn(channels_out, shape[1], 3, 3).requires_grad_()
    bias = torch.randn(channels_out, dtype=torch.float64)
    expected = F.conv2d(x, weight, bias, padding=padding)
    grad = torch.randn_like(expected)
    of_x, of_weight = torch.autograd.grad(expected, (x, weight), grad)
    with torch.no_grad():
        found = winograd(x, weight, bias, padding)
        torch.testing.assert_close(found, expected.detach())
        torch.testing.assert_close(winograd(x, weight, None, padding) + bias[:, None, None], found)
        torch.testing.assert_close(winograd_input_gradient(grad, weight, padding), of_x)
        torch.testing.assert_close(winograd_weight_gradient(grad, x, padding), of_weight)
    assert found.is_contiguous(memory_format=torch.channels_last)


def test_rounding_is_about_that_of_the_plain_sum() -> None:
    torch.manual_seed(0)
    x, weight = drawn(1, 256, 24, 32).relu(), drawn(64, 256, 3, 3) / 48
    exact = F.conv2d(x, weight, padding=1)
    grad = drawn(*exact.shape)

    def error(results: Tensor, exact: Tensor) -> float:
        return float((results.double() - exact).square().mean().sqrt() / exact.std())

    narrow, kernels, returned = x.float(), weight.float(), grad.float()
    # With points of 0, +-1 and +-2 the results are off by 2.0e-6, PyTorch's own by 0.6e-6.
    assert error(winograd(narrow, kernels, None, (1, 1)), exact) < 1.5e-6
    of_x = F.conv_transpose2d(grad, weight, padding=1)
    assert error(winograd_input_gradient(returned, kernels, (1, 1)), of_x) < 1.5e-6
    of_weight = torch.nn.grad.conv2d_weight(x, weight.shape, grad, padding=1)  # type: ignore[no-untyped-call]
    assert error(winograd_weight_gradient(returned, narrow, (1, 1)), of_weight) < 1.5e-6


def test_results_do_not_depend_on_how_the_tiles_are_divided(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    x, weight = drawn(3, 8, 22, 18), drawn(8, 8, 3, 3)
    whole = winograd(x, weight, None, (1, 1))
    monkeypatch.setattr(module, "_NUMBERS_AT_ONCE", 90)
    torch.testing.assert_close(winograd(x, weight, None, (1, 1)), whole, rtol=1e-13, atol=1e-13)


def test_tiles_are_counted_over_the_results() -> None:
    assert count_tiles(torch.empty(2, 1, 8, 9), (1, 1)) == 2 * 2 * 3
    assert count_tiles(torch.empty(1, 1, 10, 6), (0, 0)) == 2 * 1


def test_memory_used_again_carries_nothing_over() -> None:
    torch.manual_seed(0)
    large, small = (drawn(1, 8, side, side) for side in (30, 9))
    kernels = drawn(8, 8, 3, 3)
    first = winograd(small, kernels, None, (1, 1)), winograd_weight_gradient(small, small, (1, 1))
    with torch.inference_mode():
        winograd(large, kernels, None, (1, 1))
    winograd(drawn(1, 8, 40, 40), kernels, None, (1, 1))  # memory of the inference mode is left behind
    winograd_weight_gradient(large, large, (1, 1))
    winograd(small.float(), kernels.float(), None, (1, 1))
    again = winograd(small, kernels, None, (1, 1)), winograd_weight_gradient(small, small, (1, 1))
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])
