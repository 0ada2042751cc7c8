from __future__ import annotations

import pytest
import torch
import torchvision
from torch import Tensor
from torch.nn import functional as F

from detkit.ops.ordered_pool import OrderedMaxPool, OrderedRoIPool, adaptive_max_pool, needs_order
from tests.ops.test_roi_pool import BOXES, IMAGE, SCALE, maps

REGIONS = torch.cat((IMAGE[:, None].float(), BOXES), dim=1)


def gradient(pooled: Tensor, features: Tensor) -> Tensor:
    # Whole numbers, so that a sum has the same bits in any order.
    fixed = torch.randint(-9, 10, pooled.shape, generator=torch.Generator().manual_seed(1))
    return torch.autograd.grad(pooled, features, fixed.to(pooled))[0]


@pytest.mark.parametrize("size", [1, 4, 6, 9])
def test_adaptive_pooling_is_that_of_pytorch(size: int) -> None:
    features = maps().round().requires_grad_()  # nearly every bin has several maxima
    found, expected = OrderedMaxPool.apply(features, size), F.adaptive_max_pool2d(features, size)
    assert torch.equal(found, expected)
    assert torch.equal(adaptive_max_pool(features, size), expected)
    assert torch.equal(gradient(found, features), gradient(expected, features))


@pytest.mark.parametrize("size", [1, 3, 7])
def test_pooling_of_regions_is_that_of_torchvision(size: int) -> None:
    features = maps().round().requires_grad_()
    found = OrderedRoIPool.apply(features, REGIONS, size, SCALE)
    expected = torchvision.ops.roi_pool(features, REGIONS, size, SCALE)
    assert (expected == 0).flatten(1).all(1).any(), "a region lies outside the map"
    assert torch.equal(found, expected)
    assert torch.equal(gradient(found, features), gradient(expected, features))


def test_without_regions_there_is_no_gradient() -> None:
    features = maps().requires_grad_()
    pooled = OrderedRoIPool.apply(features, REGIONS[:0], 7, SCALE)
    assert pooled.shape == (0, 5, 7, 7)
    assert not gradient(pooled, features).any()


def test_bfloat16_sums_in_float32() -> None:
    features = torch.ones(1, 1, 1, 1, dtype=torch.bfloat16, requires_grad=True)
    regions = torch.zeros(1, 5)
    pooled = OrderedRoIPool.apply(features.float(), regions.expand(300, 5), 1, 1.0)
    assert pooled.shape == (300, 1, 1, 1)
    spread = OrderedMaxPool.apply(features, 20)  # 400 bins of one cell; bfloat16 cannot count beyond 256
    assert float(gradient_of_ones(spread, features)) == 400


def gradient_of_ones(pooled: Tensor, features: Tensor) -> Tensor:
    return torch.autograd.grad(pooled.sum(), features)[0]


def test_the_cpu_needs_no_order() -> None:
    torch.use_deterministic_algorithms(True)
    try:
        assert not needs_order(torch.zeros(1))
        assert needs_order(torch.zeros(1, device="meta"))
    finally:
        torch.use_deterministic_algorithms(False)
    assert not needs_order(torch.zeros(1, device="meta"))
