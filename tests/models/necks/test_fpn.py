"""Which maps a neck gives, and which of them regions are taken from."""

from __future__ import annotations

import torch
from torch.nn import functional as F

from detkit.models.necks.fpn import FPN, PlainMaps

MAPS = [torch.randn(2, 4, 16, 24), torch.randn(2, 6, 8, 12), torch.randn(2, 8, 4, 6)]


def test_a_pyramid_has_one_coarser_map_for_proposals_alone() -> None:
    neck = FPN((4, 6, 8), (4, 8, 16), channels=5)
    given = neck(MAPS)
    assert [tuple(each.shape) for each in given] == [
        (2, 5, 16, 24),
        (2, 5, 8, 12),
        (2, 5, 4, 6),
        (2, 5, 2, 3),
    ]
    assert (neck.channels, neck.strides, neck.region_strides) == ((5,) * 4, (4, 8, 16, 32), (4, 8, 16))
    assert torch.equal(given[3], given[2][:, :, ::2, ::2])


def test_a_map_is_its_own_and_the_coarser_one_enlarged() -> None:
    neck = FPN((4, 6, 8), (4, 8, 16), channels=5)
    inner = [block(each) for block, each in zip(neck.inner_blocks, MAPS, strict=True)]
    middle = inner[1] + F.interpolate(inner[2], scale_factor=2, mode="nearest")
    finest = inner[0] + F.interpolate(middle, scale_factor=2, mode="nearest")
    torch.testing.assert_close(neck(MAPS)[0], neck.layer_blocks[0](finest))
    torch.testing.assert_close(neck(MAPS)[1], neck.layer_blocks[1](middle))


def test_plain_maps_are_all_there_is() -> None:
    neck = PlainMaps([4, 6, 8], [4, 8, 16])
    assert all(one is other for one, other in zip(neck(MAPS), MAPS, strict=True))
    assert neck.strides == neck.region_strides == (4, 8, 16)
