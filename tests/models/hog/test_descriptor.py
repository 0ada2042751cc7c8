from __future__ import annotations

import cv2
import numpy as np
import pytest

from detkit.models.hog.descriptor import HOG, hog_blocks
from detkit.ops.kernels.hog_loops import strongest_gradients
from tests.reference import hog as reference


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Smooth colours, so that gradients have all directions and lengths."""
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return cv2.GaussianBlur(noise, (0, 0), 1.5)


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("gamma", [False, True])
def test_blocks_are_those_of_the_paper(signed: bool, gamma: bool) -> None:
    pixels = picture(16, 24)
    found = hog_blocks(pixels, HOG(signed=signed, gamma=gamma))
    assert found.shape == (1, 2, 36)
    for column in range(2):
        expected = reference.block(pixels, 8 * column, 0, signed=signed, gamma=gamma)
        # OpenCV's arctangent is a ten-thousandth of a radian off.
        np.testing.assert_allclose(found[0, column], expected, atol=2e-4)


def test_padding_begins_outside_where_the_image_is_mirrored() -> None:
    pixels = picture(16, 24, seed=1)
    found = hog_blocks(pixels, HOG(), padding_px=8)
    assert found.shape == (3, 4, 36)
    for row, column in ((0, 0), (1, 2), (2, 3)):
        expected = reference.block(pixels, 8 * column - 8, 8 * row - 8)
        np.testing.assert_allclose(found[row, column], expected, atol=2e-4)


def test_without_its_outermost_pixels_an_image_has_the_blocks_of_the_whole() -> None:
    pixels = picture(40, 34, seed=2)
    inner = hog_blocks(pixels[7:25, 7:33], HOG(), padding_px=-1)
    np.testing.assert_array_equal(inner[0, 0], hog_blocks(pixels, HOG())[1, 1])


def test_other_cells_blocks_and_bins() -> None:
    hog = HOG(cell_px=6, block_cells=3, stride_px=12, bins=4)
    assert hog_blocks(picture(31, 44), hog).shape == (2, 3, 36)
    assert (hog.num_blocks(42), hog.length_px(3), hog.num_blocks(5)) == (3, 42, 0)


def test_no_gradient_and_no_room_give_nothing() -> None:
    assert not hog_blocks(np.full((16, 16, 3), 7, np.uint8), HOG()).any()
    assert hog_blocks(np.zeros((15, 200, 3), np.uint8), HOG()).size == 0


@pytest.mark.skipif(not hasattr(cv2, "HOGDescriptor"), reason="OpenCV 5 has it in its contrib packages alone")
def test_equals_opencv() -> None:
    pixels = picture(128, 64)
    found = hog_blocks(pixels, HOG()).transpose(1, 0, 2).ravel()
    theirs = cv2.HOGDescriptor().compute(np.ascontiguousarray(pixels[:, :, ::-1])).ravel()
    np.testing.assert_allclose(found, theirs, atol=1e-5)


def test_of_gradients_of_one_length_the_last_channel_counts() -> None:
    """In the middle red goes across, green down and blue back: each by 2."""
    red, green, blue = np.zeros((3, 3, 3), np.float32)
    red[1, 2] = green[2, 1] = blue[1, 0] = 2
    dx, dy = np.zeros((2, 1, 1), np.float32)
    for channels, found in (
        ((red, green, blue), (-2, 0)),
        ((blue, red, green), (0, 2)),
        ((green, blue, red), (2, 0)),
    ):
        strongest_gradients(*channels, dx, dy)
        assert (dx[0, 0], dy[0, 0]) == found
    strongest_gradients(red, green, 0 * blue, dx, dy)
    assert (dx[0, 0], dy[0, 0]) == (0, 2)
    strongest_gradients(red, 2 * green, blue, dx, dy)
    assert (dx[0, 0], dy[0, 0]) == (0, 4)
    strongest_gradients(2 * red, green, blue, dx, dy)
    assert (dx[0, 0], dy[0, 0]) == (4, 0)
