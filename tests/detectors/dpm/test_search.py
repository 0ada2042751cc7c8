import numpy as np
import pytest

from detkit.detectors.dpm import search as search_module
from detkit.detectors.dpm.placements import ClassModel
from detkit.detectors.dpm.search import search
from detkit.models.hog.feature_pyramid import FeaturePyramid
from tests.detectors.dpm.small_models import picture, random_mixture, reference_models
from tests.reference.star_models import find


def _levels(image, pyramid):
    return {
        level.number: level for phase in range(pyramid.interval) for level in pyramid.levels(image, phase)
    }


def _assert_found(found, expected, levels, model, interval):
    """The placements are those of the reference, in its order but where scores are equal."""
    assert len(found) == len(expected) > 0
    np.testing.assert_allclose(found.scores, [one.score for one in expected], atol=1e-5)
    ours = {tuple(root): place for place, root in enumerate(found.roots.tolist())}
    pad_y, pad_x = model.padding
    for one in expected:
        place = ours[one.level, one.y, one.x]
        component = model.components[one.component]
        assert found.components[place] == one.component
        assert found.scores[place] == pytest.approx(one.score, abs=1e-5)
        corners = [(one.y, one.x, component.root.shape, levels[one.level].cell_px)]
        for y, x in one.parts:
            corners.append((y, x, component.parts.shape[1:], levels[one.level - interval].cell_px))
        for box, (y, x, shape, cell) in zip(found.filters[place], corners, strict=True):
            left, top = (x - pad_x) * cell, (y - pad_y) * cell
            np.testing.assert_allclose(box, [left, top, left + shape[1] * cell, top + shape[0] * cell])


@pytest.mark.parametrize(
    ("roots", "num_parts", "part", "size"),
    [
        ([(3, 4), (4, 3)], 2, (3, 3), (48, 60)),
        ([(2, 2)], 1, (5, 4), (50, 41)),  # parts are larger than the padding
        ([(3, 2), (2, 3)], 0, (1, 1), (44, 44)),
    ],
)
def test_every_placement_is_that_of_the_slow_reference(roots, num_parts, part, size):
    mixture, image = random_mixture(0, roots, num_parts, part), picture(*size)
    pyramid = FeaturePyramid(interval=2)
    levels = _levels(image, pyramid)
    features = {number: level.features for number, level in levels.items()}
    everything = find(features, reference_models(mixture), 2, -np.inf)
    threshold = (everything[60].score + everything[61].score) / 2
    model = ClassModel(mixture.components(), threshold)
    [found] = search(image, pyramid, [model], num_threads=1)
    _assert_found(found, everything[:61], levels, model, 2)


def test_classes_of_different_sizes_share_the_pyramid_and_change_nothing(monkeypatch):
    image, pyramid = picture(60, 80), FeaturePyramid(interval=3, extra_octave=True)
    models = [
        ClassModel(random_mixture(seed, roots, 2).components(), 1.5)
        for seed, roots in enumerate([[(3, 4)], [(5, 2), (3, 4)], [(4, 4)]])
    ]
    together = search(image, pyramid, models, num_threads=2)
    monkeypatch.setattr(search_module, "_MOST_RESPONSES", 1)  # each by itself
    apart = search(image, pyramid, models, num_threads=1)
    for place, model in enumerate(models):
        [alone] = search(image, pyramid, [model], num_threads=1)
        assert len(alone) > 10
        for found in (together[place], apart[place]):
            np.testing.assert_array_equal(found.roots, alone.roots)
            np.testing.assert_array_equal(found.components, alone.components)
            np.testing.assert_array_equal(found.scores, alone.scores)
            np.testing.assert_array_equal(found.filters, alone.filters)


def test_of_equal_scores_the_finer_level_the_left_and_the_upper_one_come_first():
    mixture = random_mixture(0, [(2, 2)], 0, (1, 1))
    mixture.stars[0].root.zero_()
    mixture.stars[0].location.zero_()
    mixture.stars[0].offset.fill_(1.0)
    [found] = search(picture(40, 48), FeaturePyramid(interval=1), [ClassModel(mixture.components(), 0.0)], 1)
    assert set(found.components.tolist()) == {0}  # and the original before its mirror image
    order = [(level, x, y) for level, y, x in found.roots.tolist()]
    assert order == sorted(order)
    assert len({level for level, _, _ in order}) == 2


@pytest.mark.parametrize("size", [(1, 1), (3, 200), (16, 16)])
def test_an_image_smaller_than_the_models_has_what_lies_around_it(size):
    [found] = search(
        np.zeros((*size, 3), np.uint8),
        FeaturePyramid(interval=2),
        [ClassModel(random_mixture(3, [(5, 4)], 2).components(), 1e6)],
        1,
    )
    assert len(found) == 0
    assert found.filters.shape == (0, 3, 4)


def test_a_score_that_is_hardly_above_the_threshold_is_found():
    mixture, image = random_mixture(0, [(2, 2)], 0, (1, 1)), picture(44, 44)
    pyramid = FeaturePyramid(interval=2)
    features = {number: level.features for number, level in _levels(image, pyramid).items()}
    everything = find(features, reference_models(mixture), 2, -np.inf)
    for number in range(20):
        threshold = everything[number].score - 5e-6
        [found] = search(image, pyramid, [ClassModel(mixture.components(), threshold)], num_threads=1)
        assert len(found) == sum(one.score > threshold for one in everything)
