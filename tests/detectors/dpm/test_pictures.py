import numpy as np
import pytest

from detkit.detectors.dpm.model import DPM
from detkit.detectors.dpm.pictures import CELL_PX, star_pictures
from detkit.detectors.dpm.stars import Mixture, Star
from detkit.models.hog.dpm_features import dpm_features
from detkit.models.hog.feature_pyramid import FeaturePyramid
from tests.detectors.dpm.small_models import random_mixture

ROOT, PART = 2 * CELL_PX, CELL_PX


def _star() -> Star:
    """Look for an edge in one cell of the root, and in one of each of two parts, one left of the root."""
    star = Star((2, 3), 2, (3, 3), mirrored=False, predicts_box=False)
    star.anchors[0, 0], star.anchors[1, 0], star.anchors[1, 1] = -2, 4, 2
    star.root[1, 2, 0] = 1  # a gradient along x: a vertical edge
    star.root[1, 2, 9] = -0.75
    star.parts[0, 0, 0, 9 + 4] = 0.5
    star.parts[1, 2, 1, 18] = 2
    star.parts[1, 0, 0, 18] = -5
    return star


def _lit(picture: np.ndarray, least: int) -> tuple[int, int, int, int]:
    y, x = np.nonzero(picture[..., 0] >= least)
    return x.min(), y.min(), x.max(), y.max()


def test_strokes_lie_in_the_cell_of_their_weight_on_one_scale() -> None:
    [component] = _star().components()
    root, parts = star_pictures(component)
    height, width = 5 * PART, 9 * PART  # the parts reach from -2 to 7 and to 5 cells
    assert root.shape == parts.shape == (height, width, 3)
    left, top, right, bottom = _lit(root, 100)
    first = 2 * PART + 2 * ROOT
    assert first <= left <= right < first + ROOT
    assert right - left < 4, "upright"
    assert ROOT <= top < bottom < 2 * ROOT
    assert bottom - top > 0.8 * ROOT
    assert root.max() == 128, "half as bright as the strongest weight of a part"
    left, top, right, bottom = _lit(parts, 250)
    assert 7 * PART <= left <= right < 8 * PART
    assert 4 * PART <= top < bottom < 5 * PART
    assert (parts[0, : 3 * PART] == parts[3 * PART - 1, : 3 * PART]).all()
    assert parts[0, 5, 0] == parts[5, 0, 0] == parts[5, 3 * PART - 1, 0] == 128, "the frame of the first part"
    edge = parts[1 : PART - 1, 1 : PART - 1, 0]
    assert edge.max() == pytest.approx(255 / 4, abs=1)


def test_the_picture_shows_the_root_dark_below_the_parts_and_overlapping_parts_both() -> None:
    star = _star()
    root, parts = star_pictures(star.components()[0])
    y, x = ROOT + CELL_PX, 2 * PART + 2 * ROOT + CELL_PX
    assert parts[y, x, 0] == 0, "a part lies there"
    star.anchors[1] = star.anchors[0]
    root, parts = star_pictures(star.components()[0])
    lit = root[..., 0] == root.max()
    np.testing.assert_allclose(parts[lit], root[lit] / 3, atol=1)
    assert parts[2 * PART + PART // 2, PART + PART // 2, 0] == 255
    assert parts[1 : PART - 1, 1 : PART - 1, 0].max() == pytest.approx(255 / 4, abs=1)


@pytest.mark.parametrize("degrees", [0, 35, 70, 110, 145])
def test_strokes_lie_along_the_edge_that_has_the_features(degrees: int) -> None:
    """An image of an edge looks like the picture of its own features."""
    side = 80
    y, x = np.mgrid[:side, :side] - (side - 1) / 2
    angle = np.deg2rad(degrees)
    across = x * np.sin(angle) - y * np.cos(angle)  # of an edge that runs down to the right
    image = np.repeat(np.clip(128 + 20 * across, 0, 255)[..., None], 3, axis=2)
    [features] = dpm_features(image, 8)
    star = Star(features.shape[:2], 0, (3, 3), mirrored=False, predicts_box=False)
    star.root[4, 4] = star.root.new_tensor(features[4, 4])
    [picture] = star_pictures(star.components()[0])
    lit_y, lit_x = np.nonzero(picture[..., 0] > 250)
    points = np.stack([lit_x, lit_y], axis=1) - np.array([lit_x.mean(), lit_y.mean()])
    assert np.linalg.norm(points, axis=1).max() <= ROOT / 2, "as long as an upright one"
    direction = np.linalg.svd(points)[2][0]
    assert abs(direction @ [np.cos(angle), np.sin(angle)]) > np.cos(np.deg2rad(11))


def test_models_without_parts_and_without_weights_are_drawn() -> None:
    plain = DPM([random_mixture(0, [(3, 4), (4, 3)], 0), Mixture([_star()])], pyramid=FeaturePyramid())
    roots, both = plain.filter_pictures()
    assert roots.shape[0] > roots.shape[1], "one column"
    assert both.shape[1] > 2 * both.shape[0], "two columns, one row"
    empty = Star((2, 2), 1, (3, 3), mirrored=False, predicts_box=False)
    assert next(iter(star_pictures(empty.components()[0]))).max() == 0
