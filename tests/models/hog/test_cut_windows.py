from __future__ import annotations

import numpy as np

from detkit.models.hog.cut_windows import cut, windows_around
from detkit.models.hog.pyramid import resized
from tests.models.hog.test_descriptor import picture


def test_a_cut_at_scale_one_is_the_image_with_a_pixel_around() -> None:
    pixels = picture(60, 80)
    np.testing.assert_array_equal(cut(pixels, np.array([10.0, 7.0]), 1.0, (16, 24)), pixels[6:24, 9:35])


def test_a_cut_is_what_the_pyramid_has_there() -> None:
    pixels = picture(128, 160, seed=3)
    pixels = np.repeat(np.repeat(pixels, 2, axis=0), 2, axis=1)  # smooth enough to be halved
    level = resized(pixels, 2.0)
    found = cut(pixels, np.array([40.0, 20.0]), 2.0, (32, 24))
    np.testing.assert_allclose(found, level[9:43, 19:45].astype(int), atol=1)


def test_a_window_has_the_object_in_its_middle_and_its_longer_side() -> None:
    boxes = np.array([[10.0, 20.0, 40.0, 116.0], [0.0, 0.0, 96.0, 192.0]])
    found = windows_around(boxes, (128, 64), 16)
    np.testing.assert_allclose(found.scales, [1, 2])
    np.testing.assert_allclose(found.corners, [[25 - 32, 4], [48 - 64, -32]])
    np.testing.assert_allclose(found.objects((128, 64), 16), [[9, 20, 41, 116], [16, 0, 80, 192]])
