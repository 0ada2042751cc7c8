from __future__ import annotations

import pytest
import torch
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.image_list import ImageList

from detkit.errors import UserError
from detkit.ops.anchors import AnchorGrid, base_anchors, grid_anchors

SIZES, RATIOS = (128.0, 256.0, 512.0), (0.5, 1.0, 2.0)
CPU = torch.device("cpu")

# What py-faster-rcnn's generate_anchors returns: 0-based, both corners inside the box.
PAPER = [
    [-84, -40, 99, 55], [-176, -88, 191, 103], [-360, -184, 375, 199],
    [-56, -56, 71, 71], [-120, -120, 135, 135], [-248, -248, 263, 263],
    [-36, -80, 51, 95], [-80, -168, 95, 183], [-168, -344, 183, 359],
]  # fmt: skip


def test_the_papers_nine_anchors() -> None:
    expected = torch.tensor(PAPER, dtype=torch.float32) + torch.tensor([0.0, 0.0, 1.0, 1.0])
    assert torch.equal(grid_anchors(base_anchors(SIZES, RATIOS, "base"), 16, 1, 1, 0.5), expected)


@pytest.mark.parametrize("sizes", [(128, 256, 512), (32,), (15, 33)])
@pytest.mark.parametrize("ratios", [(0.5, 1.0, 2.0), (0.3, 3.0)])
def test_corners_are_torchvisions(sizes: tuple[int, ...], ratios: tuple[float, ...]) -> None:
    peer = AnchorGenerator((sizes,), (ratios,))
    assert torch.equal(base_anchors(sizes, ratios, "corners"), peer.cell_anchors[0])


def test_the_grid_is_torchvisions() -> None:
    peer = AnchorGenerator((SIZES,), (RATIOS,))
    image = ImageList(torch.zeros(1, 3, 48, 80), [(48, 80)])
    expected = peer(image, [torch.zeros(1, 1, 3, 5)])[0]
    assert torch.equal(grid_anchors(base_anchors(SIZES, RATIOS, "corners"), 16, 3, 5, 0.0), expected)


def test_exact_anchors_have_exact_area_and_ratio() -> None:
    anchors = base_anchors(SIZES, RATIOS, "none").reshape(3, 3, 4)
    sides = anchors[..., 2:] - anchors[..., :2]
    torch.testing.assert_close(sides.prod(-1), torch.tensor(SIZES).square().expand(3, 3))
    torch.testing.assert_close(sides[..., 1] / sides[..., 0], torch.tensor(RATIOS)[:, None].expand(3, 3))
    torch.testing.assert_close(anchors[..., :2], -anchors[..., 2:])


def test_anchors_follow_the_outputs_of_a_head() -> None:
    base = base_anchors((8.0,), (1.0, 2.0), "none")
    grid = grid_anchors(base, 4, 3, 5, 0.5).reshape(3, 5, 2, 4)
    for y, x, anchor in ((0, 0, 0), (2, 1, 1), (1, 4, 0)):
        centre = torch.tensor([x + 0.5, y + 0.5, x + 0.5, y + 0.5]) * 4
        assert torch.equal(grid[y, x, anchor], base[anchor] + centre)


def test_empty_map() -> None:
    assert grid_anchors(base_anchors(SIZES, RATIOS, "none"), 16, 0, 5, 0.5).shape == (0, 4)


def test_grid_is_kept_and_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("detkit.ops.anchors._KEPT_GRIDS", 2)
    grid = AnchorGrid(((8.0,),), (1.0,), "none", 0.5)
    first = grid([(2, 2)], [4], CPU)[0]
    assert grid([(2, 2)], [4], CPU)[0] is first
    assert not torch.equal(grid([(2, 2)], [8], CPU)[0], first)
    grid([(3, 2)], [4], CPU)
    again = grid([(2, 2)], [4], CPU)[0]
    assert again is not first
    assert torch.equal(again, first)


def test_levels_have_sizes_of_their_own() -> None:
    grid = AnchorGrid(((8.0,), (16.0, 32.0)), RATIOS, "none", 0.0)
    fine, coarse = grid([(4, 4), (2, 2)], [4, 8], CPU)
    assert grid.num_per_cell == (3, 6)
    assert (len(fine), len(coarse)) == (48, 24)
    assert torch.equal(coarse, grid_anchors(base_anchors((16.0, 32.0), RATIOS, "none"), 8, 2, 2, 0.0))


def test_mistakes_are_named() -> None:
    with pytest.raises(UserError, match="rounding: expected base, corners or none, got 'floor'"):
        base_anchors(SIZES, RATIOS, "floor")  # type: ignore[arg-type]
    with pytest.raises(
        UserError, match=r"anchors\.sizes_px: 1 lists of sizes, but the model has 2 feature maps"
    ):
        AnchorGrid((SIZES,), RATIOS, "none", 0.5)([(1, 1), (1, 1)], [4, 8], CPU)
