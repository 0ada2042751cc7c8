"""Regions of a pyramid take their features from the level of their size, in the order they came."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torchvision.ops import MultiScaleRoIAlign

from detkit.models.region_features import RegionFeatures, pyramid_level
from detkit.ops.roi_align import roi_align, roi_align_pyramid

STRIDES = (4, 8, 16, 32)


def features_of(*, aligned: bool, at_once: bool) -> RegionFeatures:
    options = {"size": 3, "sampling_ratio": 2, "aligned": aligned}
    at_once_pool = partial(roi_align_pyramid, **options) if at_once else None
    return RegionFeatures(partial(roi_align, **options), STRIDES, at_once_pool)


def random_boxes(num: int, seed: int) -> torch.Tensor:
    noise = torch.Generator().manual_seed(seed)
    corner = 200 * torch.rand(num, 2, generator=noise)
    return torch.cat([corner, corner + 4 + 400 * torch.rand(num, 2, generator=noise) ** 3], 1)


@pytest.mark.parametrize("at_once", [False, True])
def test_same_as_torchvision(at_once: bool) -> None:
    torch.manual_seed(0)
    maps = [torch.randn(2, 3, 512 // stride, 640 // stride) for stride in STRIDES]
    boxes = [random_boxes(30, 0), random_boxes(11, 1)]
    ours = features_of(aligned=False, at_once=at_once)
    theirs = MultiScaleRoIAlign(["0", "1", "2", "3"], 3, 2)
    wanted = theirs({str(i): m for i, m in enumerate(maps)}, boxes, [(512, 640)] * 2)
    torch.testing.assert_close(ours([*maps, torch.zeros(1)], boxes), wanted, atol=1e-4, rtol=1e-4)
    assert len(pyramid_level(torch.cat(boxes), STRIDES).unique()) >= 3


def test_all_levels_at_once_give_the_same_gradients() -> None:
    torch.manual_seed(0)
    maps = [torch.randn(2, 3, 256 // stride, 320 // stride).requires_grad_() for stride in STRIDES]
    boxes = [random_boxes(30, 0), random_boxes(11, 1)]
    weights = torch.randn(41, 3, 3, 3)
    results = []
    for at_once in (False, True):
        pooled = features_of(aligned=True, at_once=at_once)(maps, boxes)
        results.append([pooled, *torch.autograd.grad((pooled * weights).sum(), maps)])
    for apart, together in zip(*results, strict=True):
        assert torch.equal(apart, together)


@pytest.mark.parametrize("at_once", [False, True])
def test_no_regions(at_once: bool) -> None:
    maps = [torch.randn(2, 3, 512 // stride, 640 // stride) for stride in STRIDES]
    ours = features_of(aligned=True, at_once=at_once)
    none = torch.zeros(0, 4)
    assert ours(maps, [none, none]).shape == (0, 3, 3, 3)
    assert ours(maps, [none, random_boxes(2, 0)]).shape == (2, 3, 3, 3)


def test_level_is_held_within_the_pyramid() -> None:
    sides = torch.tensor([0.0, 1.0, 1e5])
    boxes = torch.stack([0 * sides, 0 * sides, sides, sides], 1)
    assert pyramid_level(boxes, STRIDES).tolist() == [0, 0, 3]
    assert pyramid_level(boxes, (8, 16)).tolist() == [0, 0, 1]
