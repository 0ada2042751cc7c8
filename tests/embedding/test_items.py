from __future__ import annotations

from dataclasses import replace

import numpy as np

from detkit.annotations.dataset import AnnotationSet
from detkit.embedding.items import NO_CLASS, images_of, objects_of


def annotations() -> AnnotationSet:
    """Return images with a good object and a bad one of each sort, with none, and with one."""
    boxes = np.array(
        [
            [10, 10, 20, 20],
            [10, 10, 0, 20],  # no width
            [200, 10, 20, 20],  # outside
            [90, 40, 30, 30],  # reaches beyond
            [np.nan, 10, 20, 20],
            [1, 1, 50, 50],  # a crowd
            [2, 2, 50, 50],  # difficult
            [5, 5, 5, 5],
        ],
        np.float64,
    )
    count = len(boxes)
    return AnnotationSet(
        classes=("cat", "dog"),
        category_ids=np.arange(1, 3),
        image_files=np.array(["a.jpg", "b.jpg", "c.jpg"]),
        image_ids=np.arange(3) + 1,
        sizes=np.array([[60, 100], [50, 50], [40, 30]], np.int32),
        offsets=np.array([0, 7, 7, 8]),
        boxes=boxes,
        box_format="coco",
        labels=np.array([0, 0, 0, 1, 0, 0, 1, 1], np.int32),
        difficult=np.arange(count) == 6,
        crowd=np.arange(count) == 5,
        areas=np.ones(count),
        ids=np.arange(count) + 1,
        root="",
        sources=np.array(["one.json"] * 3),
    )


def test_objects_have_an_area_in_their_image_and_count() -> None:
    items = objects_of(annotations())
    assert items.objects.tolist() == [0, 3, 7]
    assert items.images.tolist() == [0, 0, 2]
    assert items.labels.tolist() == [0, 1, 1]
    assert items.boxes.tolist() == [[10, 10, 30, 30], [90, 40, 100, 60], [5, 5, 10, 10]]


def test_images_have_the_class_that_all_of_their_objects_have() -> None:
    items = images_of(annotations())
    assert items.labels.tolist() == [NO_CLASS, NO_CLASS, 1]
    assert items.boxes[0].tolist() == [0, 0, 100, 60]
    assert items.objects.tolist() == [-1, -1, -1]


def test_a_sample_is_fixed_by_its_seed_and_keeps_the_order() -> None:
    items = images_of(annotations())
    assert len(items.sample(None, 0)) == len(items.sample(3, 0)) == 3
    chosen = items.sample(2, 1)
    assert chosen.images.tolist() == items.sample(2, 1).images.tolist() == sorted(chosen.images)
    assert len(items.sample(0, 0)) == 0


def test_a_set_without_objects_has_no_items() -> None:
    truth = annotations()
    nothing = replace(truth, difficult=np.ones_like(truth.difficult))
    assert len(objects_of(nothing)) == 0
