from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torchvision.ops import FeaturePyramidNetwork
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool

from detkit.models.necks.fpn import FPN, PlainMaps

CHANNELS, STRIDES = (4, 6, 8, 10), (4, 8, 16, 32)


def backbone_maps(height: int, width: int) -> list[Tensor]:
    """Maps as a backbone leaves them: each as large as the one before, halved and rounded up."""
    generator = torch.Generator().manual_seed(1)
    sizes = [(-(-height // stride), -(-width // stride)) for stride in STRIDES]
    return [
        torch.randn(2, channels, *size, generator=generator)
        for channels, size in zip(CHANNELS, sizes, strict=True)
    ]


def pyramids(channels: int = 5) -> tuple[FPN, FeaturePyramidNetwork]:
    """Return ours, and torchvision's with the same weights: their names are the same, too."""
    torch.manual_seed(0)
    ours = FPN(CHANNELS, STRIDES, channels=channels, norm="none")
    theirs = FeaturePyramidNetwork(list(CHANNELS), channels, extra_blocks=LastLevelMaxPool())
    for parameter in theirs.parameters():
        torch.nn.init.normal_(parameter.data)
    own_names = iter(ours.state_dict())
    ours.load_state_dict({next(own_names): value for value in theirs.state_dict().values()})
    return ours, theirs


@pytest.mark.parametrize("size", [(64, 96), (65, 97), (33, 40), (1, 1), (70, 31)])
def test_is_torchvisions_pyramid_at_even_and_odd_sizes(size: tuple[int, int]) -> None:
    ours, theirs = pyramids()
    maps = backbone_maps(*size)
    expected = theirs({str(index): value for index, value in enumerate(maps)})
    copies = [value.clone() for value in maps]
    found = ours(maps)
    assert len(found) == len(expected) == 5
    for one, other in zip(found, expected.values(), strict=True):
        torch.testing.assert_close(one, other)
    assert all(torch.equal(*pair) for pair in zip(maps, copies, strict=True))  # a head may read them as well


def test_gradients_are_torchvisions() -> None:
    ours, theirs = pyramids()
    maps = backbone_maps(33, 47)
    sum(value.square().sum() for value in ours(maps)).backward()
    sum(value.square().sum() for value in theirs(dict(enumerate(maps))).values()).backward()
    for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-4, atol=1e-4)


def test_says_what_comes_out_of_it() -> None:
    pyramid = FPN(CHANNELS, STRIDES, channels=7, norm="trainable")
    found = pyramid(backbone_maps(64, 64))
    assert pyramid.channels == tuple(value.shape[1] for value in found) == (7,) * 5
    assert pyramid.strides == tuple(64 // value.shape[2] for value in found) == (4, 8, 16, 32, 64)
    assert pyramid.region_strides == STRIDES  # regions are not pooled from the coarsest


def test_of_maps_of_one_stride_regions_are_taken_from_the_first() -> None:
    pyramid = FPN((4, 6), (32, 32), channels=7)
    found = pyramid([torch.randn(1, channels, 5, 3) for channels in (4, 6)])
    assert [tuple(value.shape[1:]) for value in found] == [(7, 5, 3), (7, 5, 3), (7, 3, 2)]
    assert (pyramid.strides, pyramid.region_strides) == ((32, 32, 64), (32,))


def test_the_coarsest_map_is_every_second_cell_of_the_one_before() -> None:
    found = pyramids()[0](backbone_maps(200, 230))
    assert torch.equal(found[4], found[3][:, :, ::2, ::2])


def test_a_norm_follows_every_convolution_if_asked_for() -> None:
    kinds = [
        type(module).__name__ for module in FPN(CHANNELS, STRIDES, channels=3, norm="trainable").modules()
    ]
    assert kinds.count("BatchNorm2d") == kinds.count("Conv2d") == 2 * len(CHANNELS)
    assert not any("Norm" in type(module).__name__ for module in pyramids()[0].modules())


def test_plain_maps_are_the_backbones_own() -> None:
    maps = backbone_maps(33, 40)
    neck = PlainMaps(CHANNELS, STRIDES)
    found = neck(tuple(maps))
    assert all(one is other for one, other in zip(found, maps, strict=True))
    assert (neck.channels, neck.strides, neck.region_strides) == (CHANNELS, STRIDES, STRIDES)
    assert not list(neck.parameters())
