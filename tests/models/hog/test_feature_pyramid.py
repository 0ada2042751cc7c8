import numpy as np
import pytest

from detkit.models.hog.dpm_features import dpm_features
from detkit.models.hog.feature_pyramid import FeaturePyramid, shrink


def _picture(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def _area_mean(image, height, width):
    """Return the integral of the image, constant in each pixel, over each new pixel."""

    def matrix(old, new):
        edges = np.linspace(0, old, new + 1)
        low, high = edges[:-1, None], edges[1:, None]
        pixel = np.arange(old)[None]
        covered = np.clip(np.minimum(high, pixel + 1) - np.maximum(low, pixel), 0, None)
        return covered * new / old

    rows, columns = matrix(image.shape[0], height), matrix(image.shape[1], width)
    return np.einsum("yh,hwc,xw->yxc", rows, image.astype(float), columns)


@pytest.mark.parametrize(("size", "scale"), [((30, 40), 0.5), ((27, 33), 0.7), ((31, 9), 2**-0.1)])
def test_shrinking_takes_the_mean_of_each_area(size, scale):
    image = _picture(*size)
    smaller = shrink(image, scale)
    assert smaller.shape == (*(int(side * scale + 0.5) for side in size), 3)
    np.testing.assert_allclose(smaller, _area_mean(image, *smaller.shape[:2]), atol=0.3)
    if scale == 0.5:
        np.testing.assert_allclose(smaller, _area_mean(image, *smaller.shape[:2]), atol=1e-9)


def test_parts_of_a_pixel_below_a_thousandth_do_not_count():
    image = np.zeros((4001, 2, 3))
    image[1] = 1
    smaller = shrink(image, 4000 / 4001)[:, 0, 0]
    assert smaller[0] == 0  # under which lies a quarter of a thousandth of it
    assert smaller[1] == pytest.approx(4000 / 4001 * (1 - 0.00025))
    assert shrink(image, 1) is image


def test_levels_of_all_phases_are_the_whole_pyramid():
    image = _picture(110, 130)
    pyramid = FeaturePyramid(interval=3)
    levels = sorted(
        (level for phase in range(3) for level in pyramid.levels(image, phase)), key=lambda x: x.number
    )
    assert [level.number for level in levels] == list(range(pyramid.num_levels(110, 130)))
    for level in levels:
        assert level.cell_px == pytest.approx(4 * 2 ** (level.number / 3))
    np.testing.assert_array_equal(levels[0].features, dpm_features(image, 4)[0])
    np.testing.assert_array_equal(levels[3].features, dpm_features(image, 8)[0])
    half = shrink(shrink(image, 2 ** (-1 / 3)), 0.5)
    np.testing.assert_array_equal(levels[7].features, dpm_features(half, 8)[0])


def test_another_octave_comes_first_where_it_is_asked_for():
    image = _picture(64, 48)
    plain, more = FeaturePyramid(interval=2), FeaturePyramid(interval=2, extra_octave=True)
    assert more.num_levels(64, 48) == plain.num_levels(64, 48) + 2
    levels = more.levels(image, 1)
    assert [level.number for level in levels] == [1, 3, 5]
    assert levels[0].cell_px == pytest.approx(2 * 2**0.5)
    np.testing.assert_array_equal(levels[1].features, plain.levels(image, 1)[0].features)


@pytest.mark.parametrize(
    ("size", "number"), [((375, 500), 43), ((120, 160), 26), ((20, 20), 20), ((80, 90), 21)]
)
def test_the_smallest_image_has_five_cells(size, number):
    assert FeaturePyramid().num_levels(*size) == number
