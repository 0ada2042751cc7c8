from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from skimage.color import rgb2hsv, rgb2lab

from detkit.proposals.selective_search.colour_spaces import (
    COLOUR_SPACES,
    to_hsv,
    to_hue,
    to_intensity,
    to_lab,
    to_opencv,
    to_rgi,
)

IMAGE = np.random.default_rng(0).integers(0, 256, (40, 30, 3)).astype(np.uint8)
IMAGE[0, :3] = [[0, 0, 0], [255, 255, 255], [90, 90, 90]]


def half_up(values: NDArray[np.float64]) -> NDArray[np.int64]:
    return np.floor(values + 0.5).astype(np.int64)


def test_hsv_fills_the_range_of_a_byte() -> None:
    expected = half_up(rgb2hsv(IMAGE).transpose(2, 0, 1) * 255)
    assert np.abs(to_hsv(IMAGE).planes.astype(int) - expected).max() <= 1  # its hue rounds once more
    assert (to_hsv(IMAGE).planes == expected).mean() > 0.998


def test_hsv_rounds_what_lies_between_two_bytes_as_numbers_in_0_to_1_do() -> None:
    greens = [(value, least) for value in range(1, 256) for least in range(value)]
    pixels = np.array([[(least, value, least) for value, least in greens]], np.uint8)
    saturation = [(value / 255 - least / 255) / (value / 255) for value, least in greens]
    assert to_hsv(pixels).planes[1, 0].tolist() == half_up(np.array(saturation) * 255).tolist()
    reds = [(top, middle) for top in range(1, 256) for middle in range(1, top)]
    pixels = np.array([[(top, middle, 0) for top, middle in reds]], np.uint8)
    hue = [(middle / 255) / (top / 255) / 6 for top, middle in reds]
    assert to_hsv(pixels).planes[0, 0].tolist() == half_up(np.array(hue) * 255).tolist()


def test_lab_is_scaled_to_bytes() -> None:
    lab = rgb2lab(IMAGE)
    expected = np.stack((lab[..., 0] * 2.55, lab[..., 1] + 128, lab[..., 2] + 128))
    assert np.abs(to_lab(IMAGE).planes - expected).max() < 2


def test_shares_of_red_and_green_are_stretched_over_the_image() -> None:
    pixels = IMAGE.astype(float)
    total = pixels.sum(axis=2)
    for c in range(2):
        share = np.where(total > 0, pixels[..., c] / np.maximum(total, 1), 1 / 3)
        stretched = (share - share.min()) / (share.max() - share.min()) * 255
        assert np.abs(to_rgi(IMAGE).planes[c] - stretched).max() <= 0.51
    assert (to_rgi(IMAGE).planes[2] == to_intensity(IMAGE).planes[0]).all()


def test_hue_and_intensity_count_three_times() -> None:
    assert to_hue(IMAGE).copies == to_intensity(IMAGE).copies == 3
    assert (to_hue(IMAGE).planes[0] == to_hsv(IMAGE).planes[0]).all()
    luma = IMAGE @ np.linalg.inv([[1, 0.956, 0.621], [1, -0.272, -0.647], [1, -1.106, 1.703]])[0]
    assert (to_intensity(IMAGE).planes[0] == half_up(luma)).all()


def test_opencv_has_its_own_spaces() -> None:
    assert (to_opencv(IMAGE, "hsv").planes == cv2.cvtColor(IMAGE, cv2.COLOR_RGB2HSV).transpose(2, 0, 1)).all()
    assert to_opencv(IMAGE, "hsv").planes[0].max() < 180
    grey = cv2.cvtColor(IMAGE, cv2.COLOR_RGB2GRAY)
    assert (to_opencv(IMAGE, "intensity").planes[0] == grey).all()
    assert (to_opencv(IMAGE, "hue").planes[0] == IMAGE[..., 2]).all()
    assert (to_opencv(IMAGE, "rgi").planes == [IMAGE[..., 0], IMAGE[..., 1], grey]).all()
    assert (to_opencv(IMAGE, "lab").planes == to_lab(IMAGE).planes).all()
    assert to_opencv(IMAGE, "intensity").copies == 1


@pytest.mark.parametrize("name", COLOUR_SPACES)
@pytest.mark.parametrize("value", [0, 77, 255])
def test_one_grey_pixel(name: str, value: int) -> None:
    for colour in (
        COLOUR_SPACES[name](np.full((1, 1, 3), value, np.uint8)),
        to_opencv(np.full((1, 1, 3), value, np.uint8), name),
    ):
        assert colour.planes.dtype == np.uint8
        assert colour.planes.shape == (1 if name in ("hue", "intensity") else 3, 1, 1)
