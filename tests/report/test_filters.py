from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from detkit.report.content import Picture, ReportData
from detkit.report.draw import SHEET
from detkit.report.filters import activation_picture, filter_pictures, kernel_picture
from detkit.report.html import render

GAP = 4


def tile(picture: np.ndarray, row: int, column: int, size: tuple[int, int]) -> np.ndarray:
    """Return one of a grid's tiles."""
    top, left = GAP + row * (size[0] + GAP), GAP + column * (size[1] + GAP)
    return picture[top : top + size[0], left : left + size[1]]


@pytest.mark.parametrize(("height", "width", "zoom"), [(7, 7, 8), (3, 5, 12), (60, 2, 1)])
def test_kernels_have_one_scale_and_hard_edges(height: int, width: int, zoom: int) -> None:
    kernels = np.random.default_rng(0).normal(size=(5, 3, height, width)).astype(np.float32)
    kernels[3, 1, 0, 1], kernels[4, 2, 1, 0] = -9, 11
    picture = kernel_picture(kernels)
    size = zoom * height, zoom * width
    assert picture.shape == (2 * (size[0] + GAP) + GAP, 3 * (size[1] + GAP) + GAP, 3)
    for number, kernel in enumerate(kernels):
        drawn = tile(picture, *divmod(number, 3), size)
        for y, x, colour in np.ndindex(height, width, 3):
            wanted = round(255 * (float(kernel[colour, y, x]) + 9) / 20)
            square = drawn[y * zoom : (y + 1) * zoom, x * zoom : (x + 1) * zoom, colour]
            assert square.min() == square.max()
            assert abs(int(square[0, 0]) - wanted) <= 1  # a half may be rounded to either side
    assert (tile(picture, 1, 2, size) == SHEET).all(), "a place without a kernel is empty"
    assert (picture.min(), picture.max()) == (0, 255)


def test_equal_kernels_are_drawn_evenly() -> None:
    assert (tile(kernel_picture(np.ones((1, 3, 4, 4))), 0, 0, (56, 56)) == 0).all()


def test_the_strongest_channels_come_first() -> None:
    maps = np.zeros((6, 4, 4), np.float32)
    maps[4], maps[1, 0, 0], maps[2] = 2.0, 4.0, -9.0
    picture, channels = activation_picture(maps, 4)
    assert channels == [4, 1, 0, 2]
    assert (tile(picture, 0, 0, (56, 56)) == 255).all()
    second = tile(picture, 0, 1, (56, 56))
    assert (second[:14, :14] == 255).all()
    assert second.sum() == 14 * 14 * 3 * 255
    assert (tile(picture, 1, 1, (56, 56)) == 0).all(), "what is below 0 is black"


class Linear(nn.Module):
    """Shows filters of its own, though it has a convolution, too."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 2, 3)

    def filter_pictures(self) -> list[np.ndarray]:
        return [np.full((4, 4, 3), shade, np.uint8) for shade in (1, 2)]


def test_linear_models_show_each_class_and_networks_their_first_layer() -> None:
    shown = filter_pictures(Linear(), ("a", "b"))
    assert [(picture.caption, picture.image[0, 0, 0]) for picture in shown] == [("a", 1), ("b", 2)]
    network = nn.Sequential(nn.Conv2d(1, 3, 1), nn.Conv2d(3, 6, (3, 5)), nn.Conv2d(3, 9, 1))
    (first,) = filter_pictures(network, ("a", "b"))
    assert (first.caption, first.note) == ("1", "6 filters of 5 x 3 pixels, all in one scale")
    weights = network[1].weight
    assert isinstance(weights, torch.Tensor)
    np.testing.assert_array_equal(first.image, kernel_picture(weights.detach().numpy()))
    assert filter_pictures(nn.Linear(3, 3), ("a",)) == []


def test_a_report_has_a_section_of_filters() -> None:
    picture = Picture(np.zeros((8, 8, 3), np.uint8), "backbone.<conv1>", note="64 filters")
    page = render(ReportData("run", filters=(picture,)))
    assert '<section id="filters"><h2>Filters</h2>' in page
    assert "backbone.&lt;conv1&gt;" in page
    assert 'id="filters"' not in render(ReportData("run"))
