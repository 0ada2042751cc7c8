"""The deep feature pyramid: its sizes, its maxima, and what lies beyond an image."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from detkit.detectors.dpm_cnn.pyramid import DeepPyramid


class Means(nn.Module):
    """A map of the mean of each cell, plus one, so that padding is not 0 by itself."""

    channels, strides = (3,), (8,)

    def forward(self, pixels: Tensor) -> list[Tensor]:
        return [nn.functional.avg_pool2d(pixels, 8) + 1]


def pyramid(**given: float) -> DeepPyramid:
    return DeepPyramid(Means(), **{"levels": 3, "scale_step": 2.0, "pool_cells": 1, "scale": 1.0} | given)  # type: ignore[arg-type]


def image(height: int, width: int) -> Tensor:
    return torch.rand((3, height, width), generator=torch.Generator().manual_seed(height))


def test_each_level_is_smaller_by_the_step() -> None:
    maps = pyramid()([image(64, 96)])
    assert [tuple(level.shape[1:]) for level in maps] == [(3, 8, 12), (3, 4, 6), (3, 2, 3)]
    assert pyramid().cells((64, 96)) == [(8, 12), (4, 6), (2, 3)]
    assert pyramid().cell_px((64, 96)) == [(8, 8), (16, 16), (32, 32)]
    # 33 x 50 rounded: 33, 16 and 8 by 50, 25 and 12 pixels; a cell that is filled in part is one.
    assert pyramid().cells((33, 50)) == [(5, 7), (2, 4), (1, 2)]
    assert pyramid().cell_px((33, 50))[2] == (8 * 33 / 8, 8 * 50 / 12)


def test_a_level_shows_the_image_in_its_size() -> None:
    shown = image(64, 64)
    first, second, _ = pyramid()([shown])
    torch.testing.assert_close(first[0], nn.functional.avg_pool2d(shown, 8) + 1)
    # Far from the border each is the mean over about 16 pixels.
    whole = nn.functional.avg_pool2d(shown, 16) + 1
    assert (second[0] - whole).abs().max() < 0.1


def test_features_are_the_scaled_maxima_around_each_cell() -> None:
    plain = pyramid(levels=1)([image(40, 40)])[0][0]
    pooled = pyramid(levels=1, pool_cells=3, scale=0.5)([image(40, 40)])[0][0]
    for y, x in ((0, 0), (2, 3), (4, 4)):
        around = plain[:, max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2].amax((1, 2))
        torch.testing.assert_close(pooled[:, y, x], around / 2)


@pytest.mark.parametrize("cells", [1, 3])
def test_images_of_a_batch_do_not_change_one_another(cells: int) -> None:
    # Darker than what lies around them once the network has read it.
    large, small = image(64, 96) - 1, image(40, 33) - 1
    alone, together = pyramid(pool_cells=cells)([small]), pyramid(pool_cells=cells)([large, small])
    for own, both in zip(alone, together, strict=True):
        rows, columns = own.shape[2:]
        torch.testing.assert_close(both[1, :, :rows, :columns], own[0])
        assert not both[1, :, rows:].any()
        assert not both[1, :, :, columns:].any()
        assert both[0, :, -1, -1].all()


def test_an_image_of_a_pixel_has_a_cell() -> None:
    assert [tuple(level.shape) for level in pyramid()([image(1, 1)])] == [(1, 3, 1, 1)] * 3
