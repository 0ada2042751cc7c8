import numpy as np
import pytest

from detkit.models.hog.dpm_features import MIRRORED, dpm_features
from tests.reference.dpm_features import features


def _picture(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    ("size", "cell"), [((24, 32), 8), ((27, 37), 8), ((22, 18), 4), ((11, 9), 2), ((20, 29), 4)]
)
def test_they_are_those_of_the_slow_reference(size, cell):
    image = _picture(*size)
    [found] = dpm_features(image, cell)
    assert found.shape == (round(size[0] / cell + 1e-9) - 2, round(size[1] / cell + 1e-9) - 2, 32)
    np.testing.assert_allclose(found, features(image, cell), atol=3e-7)


def test_of_gradients_of_one_length_the_first_channel_counts():
    image = np.random.default_rng(3).integers(0, 2, (16, 20, 3), dtype=np.uint8)
    np.testing.assert_allclose(dpm_features(image, 4)[0], features(image, 4), atol=3e-7)


def test_gray_edges_between_two_orientations_take_the_first():
    image = np.zeros((24, 24, 3), np.uint8)
    image[12:] = 200  # a step straight down lies between the bins of 80 and 100 degrees
    [found] = dpm_features(image, 8)
    np.testing.assert_allclose(found, features(image, 8), atol=3e-7)
    assert found[0, 0, 4] > 0
    assert found[0, 0, 5] == 0


def test_several_sizes_of_cells_share_the_gradients():
    image = _picture(40, 48).astype(np.float64) / 3
    both = dpm_features(image, 4, 8)
    for cell, found in zip((4, 8), both, strict=True):
        np.testing.assert_array_equal(found, dpm_features(image, cell)[0])


@pytest.mark.parametrize("size", [(1, 1), (2, 40), (40, 2), (11, 60), (0, 5)])
def test_an_image_without_whole_cells_has_few_or_none(size):
    [found] = dpm_features(np.full((*size, 3), 7, np.uint8), 8)
    assert found.shape == (*(max(int(side / 8 + 0.5) - 2, 0) for side in size), 32)
    assert not found.any()


def test_a_mirrored_image_has_the_mirrored_features():
    image = np.random.default_rng(0).uniform(0, 255, (32, 40, 3))  # without ties
    [found], [mirrored] = dpm_features(image, 8), dpm_features(image[:, ::-1], 8)
    np.testing.assert_allclose(mirrored, found[:, ::-1, MIRRORED], atol=1e-6)
    assert sorted(MIRRORED) == list(range(32))
