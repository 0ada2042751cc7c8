"""Regions of a pyramid take their features from the level of their size, in the order they came."""

from __future__ import annotations

import math
from functools import partial

import pytest
import torch
from torchvision.ops import MultiScaleRoIAlign

from detkit.models.roi.region_features import Level, RegionFeatures, nearest_copy, nearest_side, pyramid_level
from detkit.ops.roi_align import roi_align, roi_align_pyramid
from detkit.ops.roi_pool import roi_pool, rounded_edges

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


def pooled_one_by_one(
    maps: list[torch.Tensor], boxes: torch.Tensor, strides: list[float], power: int
) -> torch.Tensor:
    """Each box from the copy whose area (2), or its root (1), is nearest to that of 224 x 224."""
    rows = []
    for box in boxes:
        x1, y1, x2, y2 = box.tolist()
        sides = [math.sqrt((x2 - x1) * (y2 - y1)) * strides[0] / stride for stride in strides]
        best = min(range(len(strides)), key=lambda copy: abs(sides[copy] ** power - 224**power))
        rows.append(roi_pool(maps[best], box[None], torch.tensor([0]), 1 / strides[best], 3))
    return torch.cat(rows)


@pytest.mark.parametrize(("level", "power"), [(nearest_copy, 2), (nearest_side, 1)])
def test_each_region_comes_from_the_copy_where_it_is_nearest_to_224_pixels(level: Level, power: int) -> None:
    torch.manual_seed(0)
    strides = [16 * 1200 / short for short in (1200, 864, 688, 576, 480)]
    maps = [torch.randn(1, 2, round(1200 / stride), round(1600 / stride)) for stride in strides]
    corner = 700 * torch.rand(60, 2)
    boxes = torch.cat([corner, corner + 20 + 800 * torch.rand(60, 2)], 1)
    ours = RegionFeatures(partial(roi_pool, size=3), strides, level=level, rounding=rounded_edges)
    assert torch.equal(ours(maps, [boxes]), pooled_one_by_one(maps, boxes, strides, power))
    assert len(level(boxes, strides).unique()) == 5
    alone = ours(maps[:1], [boxes])
    assert torch.equal(alone, roi_pool(maps[0], boxes, torch.zeros(60, dtype=torch.int64), 1 / 16, 3))


def test_boxes_that_round_to_the_same_cells_are_taken_once() -> None:
    torch.manual_seed(0)
    maps = [torch.randn(2, 3, 20, 20)]
    boxes = [(torch.rand(80, 2) * 40).repeat(1, 2) + torch.tensor([0.0, 0, 30, 40]) for _ in range(2)]
    ours = RegionFeatures(partial(roi_pool, size=3), [16], rounding=rounded_edges)
    chosen, rows = ours.distinct(boxes)
    assert rows is not None
    assert sum(map(len, chosen)) < 120
    assert torch.equal(ours(maps, chosen)[rows], ours(maps, boxes))
    cells = [{tuple(rounded_edges(box[None], 1 / 16)[0].tolist()) for box in own} for own in boxes]
    assert [len(own) for own in chosen] == [len(own) for own in cells]
    assert [len(own) for own in ours.distinct([torch.zeros(0, 4)])[0]] == [0]
    as_they_are = RegionFeatures(partial(roi_pool, size=3), [16])
    assert as_they_are.distinct(boxes)[1] is None
