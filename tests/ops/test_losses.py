from __future__ import annotations

import pytest
import torch

from detkit.ops.losses import smooth_l1


@pytest.mark.parametrize("beta", [1.0, 1 / 9, 0.0])
def test_both_pieces(beta: float) -> None:
    difference = torch.tensor([-3.0, -0.5, -0.05, 0.0, 0.05, 0.5, 3.0])
    size = difference.abs().tolist()
    expected = [d * d / (2 * beta) if d < beta else d - beta / 2 for d in size]
    torch.testing.assert_close(smooth_l1(difference + 2, torch.full((7,), 2.0), beta), torch.tensor(expected))


def test_sigma_3_of_the_papers_code_is_beta_one_ninth() -> None:
    d = torch.linspace(-1, 1, 41)
    by_sigma = torch.where(d.abs() < 1 / 9, 0.5 * (3 * d) ** 2, d.abs() - 0.5 / 9)
    torch.testing.assert_close(smooth_l1(d, torch.zeros_like(d), 1 / 9), by_sigma)


def test_half_precision_is_computed_in_float32() -> None:
    prediction = torch.ones(2, 4, dtype=torch.bfloat16, requires_grad=True)
    loss = smooth_l1(prediction, torch.zeros(2, 4), 1.0)
    assert loss.dtype == torch.float32
    loss.sum().backward()
    assert prediction.grad is not None
    assert prediction.grad.dtype == torch.bfloat16


def test_empty_sums_to_zero_with_a_gradient() -> None:
    prediction = torch.zeros(0, 4, requires_grad=True)
    smooth_l1(prediction, torch.zeros(0, 4), 1.0).sum().backward()
    assert prediction.grad is not None


def test_gradients() -> None:
    prediction = torch.tensor([-3.0, -0.3, 0.4, 2.0], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda p: smooth_l1(p, torch.zeros_like(p), 1.0), (prediction,))
