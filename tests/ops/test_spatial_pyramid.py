from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from detkit.errors import UserError
from detkit.ops.spatial_pyramid import pyramid_cells, spatial_pyramid_pool
from tests.reference.spatial_pyramid import spatial_pyramid

LEVELS = (6, 3, 2, 1)


def expected(maps: Tensor, boxes: Tensor, image: Tensor, stride: int, levels: tuple[int, ...]) -> Tensor:
    rows = []
    for box, own in zip(boxes.tolist(), image.tolist(), strict=True):
        channels = torch.tensor(
            [spatial_pyramid(channel, box, stride, list(levels)) for channel in maps[own].tolist()]
        )
        sizes = [level * level for level in levels]
        rows.append(torch.cat([part.flatten() for part in channels.split(sizes, dim=1)]))
    return torch.stack(rows).float()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_agrees_with_the_published_procedure(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    maps = torch.randn((2, 3, 11, 17), generator=generator).to(dtype)
    corners = torch.rand((60, 2, 2), generator=generator) * torch.tensor([290.0, 200.0]) - 10
    boxes = torch.cat((corners.amin(1), corners.amax(1)), dim=1)
    boxes[:20] = (boxes[:20] / 8).round() * 8  # edges on cells and halfway between them
    boxes[20:26, 2:] = boxes[20:26, :2] + 3  # smaller than a cell
    image = torch.arange(60) % 2
    pooled = spatial_pyramid_pool(maps, boxes, image, 1 / 16, LEVELS)
    assert pooled.shape == (60, 3 * 50, 1, 1)
    assert pooled.dtype == dtype
    assert torch.equal(pooled.flatten(1).float(), expected(maps.double(), boxes, image, 16, LEVELS))


@settings(max_examples=40)
@given(
    st.tuples(*[st.integers(-40, 200)] * 4),
    st.tuples(st.integers(1, 9), st.integers(1, 9)),
    st.sampled_from([(1,), (2, 1), (3, 2), (4, 6), (5,)]),
)
def test_any_box_on_any_map(box: tuple[int, ...], size: tuple[int, int], levels: tuple[int, ...]) -> None:
    maps = torch.rand((1, 2, *size), generator=torch.Generator().manual_seed(1))
    boxes, image = torch.tensor([box], dtype=torch.float32), torch.zeros(1, dtype=torch.int64)
    pooled = spatial_pyramid_pool(maps, boxes, image, 1 / 16, levels).flatten(1)
    assert torch.equal(pooled, expected(maps, boxes, image, 16, levels))


def test_regions_shrink_where_roi_pool_lets_them_grow() -> None:
    """Edges halfway between cells go inwards, so one cell is left of what RoIPool takes three of."""
    halfway = torch.tensor([[8.0, 8.0, 24.0, 24.0], [24.0, 24.0, 24.0, 24.0]])
    assert pyramid_cells(halfway, 1 / 16).tolist() == [[1, 1, 1, 1], [2, 2, 1, 1]]
    maps = torch.arange(16.0).view(1, 1, 4, 4)
    image = torch.zeros(2, dtype=torch.int64)
    assert spatial_pyramid_pool(maps, halfway, image, 1 / 16, (1,)).flatten().tolist() == [5.0, 5.0]


def test_gradient_goes_to_the_maxima_of_all_levels() -> None:
    maps = torch.rand((1, 2, 6, 7), dtype=torch.float64, requires_grad=True)
    boxes = torch.tensor([[0.0, 0, 90, 80], [20, 10, 60, 90]], dtype=torch.float64)
    image = torch.zeros(2, dtype=torch.int64)
    assert torch.autograd.gradcheck(lambda x: spatial_pyramid_pool(x, boxes, image, 1 / 16, (3, 2, 1)), maps)


def test_no_regions_give_no_vectors() -> None:
    nothing = spatial_pyramid_pool(
        torch.rand(1, 2, 3, 4), torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), 1 / 16, LEVELS
    )
    assert nothing.shape == (0, 100, 1, 1)


def test_shapes_are_checked() -> None:
    with pytest.raises(UserError, match="boxes"):
        spatial_pyramid_pool(torch.rand(1, 2, 3, 4), torch.zeros(1, 3), torch.tensor([0]), 1 / 16, LEVELS)
