"""Where star models are in training images, against trying every place."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from detkit.config.load import load_config
from detkit.data.datasets.builder import open_training_set
from detkit.data.loading.samples import DetectionDataset
from detkit.detectors.dpm.examples import (
    ClassImages,
    class_model,
    overlaps,
    star_and_side,
)
from detkit.detectors.dpm.search import search
from detkit.detectors.dpm.weights import StarWeights
from detkit.models.hog.feature_pyramid import FeaturePyramid, Level
from detkit.ops.boxes import pairwise_iou
from tests.detectors.dpm.test_weights import random_star

PYRAMID = FeaturePyramid(4, 2)


@pytest.fixture(scope="module")
def images() -> ClassImages:
    """Return six small embedded photographs, for their second class."""
    data = load_config("dpm_synthetic", ["data.train.num_images=6"]).data
    train_set, _ = open_training_set(data)
    dataset = DetectionDataset.of(train_set, [], seed=0)
    return ClassImages(dataset, 1, 5, PYRAMID, 0.5, 0.3, 20, 1)


def with_class(images: ClassImages) -> int:
    """Return an image that has objects of the class."""
    return images.with_objects()[0]


def slow_iou(one: np.ndarray, other: np.ndarray) -> float:
    sides = np.minimum(one[2:], other[2:]) - np.maximum(one[:2], other[:2])
    common = max(sides[0], 0) * max(sides[1], 0)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return 0.0 if common == 0 else float(common / (sum(areas) - common))


def test_overlaps_are_those_of_roots_cut_at_the_image() -> None:
    model = class_model([random_star(0, (4, 3), 0), random_star(1, (3, 5), 0)])
    level = Level(3, 1, 6.5, np.zeros((7, 9, 32), np.float32))
    boxes = np.array([[3.0, 4, 40, 33], [30, 2, 58.5, 45.5]])
    for number, component in enumerate(model.components):
        found = overlaps(model, number, level, boxes, (45, 58))
        assert found.shape == (2, *model.map_size(level))
        rows, columns = component.root.shape[:2]
        for box in range(2):
            for y in range(found.shape[1]):
                for x in range(found.shape[2]):
                    corner = np.array([x - model.padding[1], y - model.padding[0]]) * 6.5
                    root = np.concatenate([corner, corner + np.array([columns, rows]) * 6.5])
                    root = np.clip(root, 0, [58, 45, 58, 45])
                    assert found[box, y, x] == pytest.approx(slow_iou(root, boxes[box]), abs=1e-9)


@pytest.mark.parametrize("num_parts", [0, 2])
def test_a_positive_is_the_best_placement_that_overlaps_its_object(
    images: ClassImages, num_parts: int
) -> None:
    stars = [random_star(seed, root, num_parts) for seed, root in enumerate([(5, 4), (4, 5)])]
    image = with_class(images)
    found = images.positives(stars, image)
    assert found
    pixels, boxes = images.objects(image)
    # Every placement of the whole search on the same crop.
    for positive in found:
        height, width = positive.size
        corner = next(
            np.round(box[:2] - positive.box[:2]).astype(int)
            for box in boxes
            if np.allclose(box[2:] - box[:2], positive.box[2:] - positive.box[:2])
        )
        crop = np.ascontiguousarray(pixels[corner[1] : corner[1] + height, corner[0] : corner[0] + width])
        [every] = search(crop, PYRAMID, [class_model(stars)], 1)
        clipped = np.clip(every.filters[:, 0], 0, [width, height, width, height])
        iou = pairwise_iou(torch.from_numpy(clipped), torch.from_numpy(positive.box[None]))[:, 0].numpy()
        over = (iou >= 0.5) & (every.scores > -100)
        # The search keeps one component a place, so the best that overlaps may be hidden behind another.
        assert positive.score >= every.scores[over].max() - 1e-9
        own = np.clip(positive.filters[0], 0, [width, height, width, height])
        assert slow_iou(own, positive.box) >= 0.5
        assert positive.score == pytest.approx(
            float(positive.features @ stars[positive.star].values), abs=1e-4
        )
    hidden = class_model(stars[:1])
    assert len(hidden.components) == 2


def test_the_crop_has_half_an_object_around_it(images: ClassImages) -> None:
    image = with_class(images)
    pixels, boxes = images.objects(image)
    [first, *_] = images.positives([random_star(0, (4, 4), 0)], image)
    largest = (boxes[:, 2:] - boxes[:, :2]).max(axis=0)
    low = np.maximum(np.floor(boxes[:, :2].min(0) - largest / 2), 0)
    high = np.minimum(np.ceil(boxes[:, 2:].max(0) + largest / 2), pixels.shape[1::-1])
    assert first.size == tuple((high - low)[::-1].astype(int))


def test_small_objects_are_passed_over(images: ClassImages) -> None:
    image = with_class(images)
    _, boxes = images.objects(image)
    sides = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    # Half a cell of 4 pixels: a root of side s needs an area of (2 s)^2.
    side = int(np.ceil(np.sqrt(sides.max()) / 2)) + 1
    loose = replace(images, min_iou=0.0)
    assert loose.positives([random_star(0, (side, side), 0)], image) == []
    fitting = int(np.sqrt(sides.min()) / 2)
    assert len(loose.positives([random_star(0, (fitting, fitting), 0)], image)) == len(boxes)


def test_negatives_are_the_best_placements_away_from_objects(images: ClassImages) -> None:
    stars = [random_star(seed, root, 2) for seed, root in enumerate([(4, 3), (3, 4)])]
    image = with_class(images)
    pixels, boxes = images.objects(image)
    [every] = search(pixels, PYRAMID, [replace(class_model(stars), threshold=-1.002)], 1)
    iou = pairwise_iou(torch.from_numpy(every.filters[:, 0]).float(), torch.from_numpy(boxes).float())
    expected = every.scores[(iou < 0.3).all(dim=1).numpy()][:20]
    mined = images.negatives(stars, image)
    assert sorted(np.concatenate([own.scores for own in mined])) == pytest.approx(sorted(expected))
    numbers = np.concatenate([own.examples for own in mined])
    assert len(np.unique(numbers)) == 20
    for own in mined:
        scores = own.features.astype(np.float64) @ stars[own.star].values
        np.testing.assert_allclose(scores, own.scores, atol=1e-4)
    other = images.negatives(stars, (image + 1) % 6)
    assert not np.isin(np.concatenate([own.examples for own in other]), numbers).any()
    assert star_and_side(stars) == [(0, 0), (0, 1), (1, 0), (1, 1)]


def test_random_windows_lie_inside_images_and_away_from_objects(images: ClassImages) -> None:
    star = StarWeights.of_root((4, 3), (6, 6), mirrored=False)
    chance = np.random.default_rng(0)
    found = [images.random_negatives(star, image, 30, chance) for image in range(6)]
    for own in found:
        assert 0 < len(own.features) <= 30
        assert len(np.unique(own.examples)) == len(own.features)
        root, _, _, location, bias = star.split(own.features)
        assert (root[..., -1] == 0).all()  # no cell outside
        assert (location[:, 0] == 0).all()
        assert (location[:, 1:].sum(1) == 1).all()
        assert (bias == 10).all()
    assert sum(len(own.features) for own in found) < 180  # some lay on objects
    again = images.random_negatives(star, 0, 30, np.random.default_rng(0))
    assert np.array_equal(again.features, found[0].features)
    huge = StarWeights.of_root((60, 60), (6, 6), mirrored=False)
    assert len(images.random_negatives(huge, 0, 5, chance).features) == 0


def test_images_are_chosen_by_their_objects(images: ClassImages) -> None:
    labels = [images.images.index.target(image).labels.tolist() for image in range(6)]
    assert images.with_objects() == [image for image in range(6) if 1 in labels[image]]
    assert images.with_negatives() == list(range(6))
    without = replace(images, negative_iou=None)
    assert without.with_negatives() == [image for image in range(6) if 1 not in labels[image]]
    tall = replace(images, shapes=(100.0, np.inf))
    assert tall.with_objects() == []
    found = images.with_objects()
    assert replace(images, most=2).with_objects() == [found[0], found[len(found) // 2]]
    assert replace(images, most=len(found)).with_objects() == found
    assert tall.objects(with_class(images))[1].shape == (0, 4)


def test_results_come_in_order_however_many_threads_work(images: ClassImages) -> None:
    several = replace(images, num_threads=2)
    order = [5, 3, 0, 1, 4, 2, 5, 0, 3, 1]
    assert list(several.of_all(order[:6], lambda image: image * 10)) == [50, 30, 0, 10, 40, 20]
    assert list(images.of_all([], lambda image: image)) == []
    assert list(several.of_all(list(range(20)), lambda image: image)) == list(range(20))
