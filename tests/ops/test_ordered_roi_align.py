from __future__ import annotations

import pytest
import torch
import torchvision
from torch import Tensor

from detkit.ops import ordered_roi_align
from detkit.ops.ordered_roi_align import OrderedRoIAlign
from tests.ops.test_roi_pool import BOXES, IMAGE, SCALE, maps


def regions() -> Tensor:
    """Return regions at, over and beyond borders, and 100 at random; the last image has none."""
    begin = torch.rand((100, 2), generator=torch.Generator().manual_seed(2)) * 90
    boxes = torch.cat((BOXES, torch.cat((begin, begin + begin.flip(0) / 2), dim=1)))
    return torch.cat((IMAGE.repeat(11)[:, None].double(), boxes.double()), dim=1)


@pytest.mark.parametrize("aligned", [False, True])
@pytest.mark.parametrize("sampling_ratio", [0, 1, 2, 3])
@pytest.mark.parametrize("at_once", [7, 64])
def test_equals_torchvision(
    sampling_ratio: int, aligned: bool, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ordered_roi_align, "_REGIONS_AT_ONCE", at_once)
    features = torch.cat((maps(), maps(seed=1)[:1])).double().requires_grad_()
    expected = torchvision.ops.roi_align(features, regions(), 7, SCALE, sampling_ratio, aligned)
    found = OrderedRoIAlign.apply(features, regions(), 7, SCALE, sampling_ratio, aligned)
    assert torch.equal(found, expected)
    fixed = torch.randn(found.shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    gradients = [torch.autograd.grad(pooled, features, fixed)[0] for pooled in (found, expected)]
    torch.testing.assert_close(*gradients, rtol=0, atol=1e-12)
    assert not gradients[0][2].any()


def test_without_regions_there_is_no_gradient() -> None:
    features = maps().requires_grad_()
    pooled = OrderedRoIAlign.apply(features, torch.zeros(0, 5), 7, SCALE, 2, True)
    assert not torch.autograd.grad(pooled.sum(), features)[0].any()
