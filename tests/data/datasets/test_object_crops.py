from __future__ import annotations

import pickle
from dataclasses import replace

import numpy as np
import pytest

from detkit.annotations.coordinates import to_corners
from detkit.data.datasets import object_crops as object_crops_module
from detkit.data.datasets.object_crops import object_crops
from detkit.data.datasets.source import Source
from detkit.data.synthetic.dataset import SyntheticSet


def drawn() -> Source:
    images = SyntheticSet(3, seed=4)
    return Source(images.annotations(), images.render)


def test_every_object_becomes_an_image_of_its_class() -> None:
    source = drawn()
    truth = source.annotations
    crops = object_crops(source, 0.0)
    own = crops.annotations
    assert own.num_images == own.num_objects == truth.num_objects
    assert own.labels.tolist() == truth.labels.tolist()
    for number, (image, box) in enumerate(zip(truth.image_index(), truth.boxes.astype(int), strict=True)):
        x1, y1, x2, y2 = box.tolist()
        wanted = source.pixels(int(image))[y1 - 1 : y2, x1 - 1 : x2]  # VOC: 1-based, inclusive
        assert np.array_equal(crops.pixels(number), wanted)
        assert own.sizes[number].tolist() == list(wanted.shape[:2])
        assert to_corners(own.boxes, own.box_format)[number].tolist() == [
            0,
            0,
            wanted.shape[1],
            wanted.shape[0],
        ]
    assert len(set(own.image_files.tolist())) == own.num_images


def test_context_ends_where_the_image_does() -> None:
    source = drawn()
    near, wide = object_crops(source, 0.0), object_crops(source, 50.0)
    truth = source.annotations
    assert np.array_equal(wide.annotations.sizes, truth.sizes[truth.image_index()])
    some = object_crops(source, 0.2).annotations.sizes
    assert (some >= near.annotations.sizes).all()
    assert (some > near.annotations.sizes).any()


def test_difficult_objects_and_crowds_are_left_out() -> None:
    source = drawn()
    flags = np.zeros(source.annotations.num_objects, np.bool_)
    flags[1] = True
    for changes in ({"difficult": flags}, {"crowd": flags}):
        crops = object_crops(Source(replace(source.annotations, **changes), source.pixels), 0.0)
        assert crops.annotations.labels.tolist() == np.delete(source.annotations.labels, 1).tolist()


def test_loader_processes_may_be_given_it() -> None:
    crops = object_crops(drawn(), 0.1)
    again = pickle.loads(pickle.dumps(crops.pixels))
    assert np.array_equal(again(0), crops.pixels(0))


def test_an_image_is_read_once_for_the_crops_that_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    source, asked = drawn(), list[int]()

    def pixels(image: int) -> np.ndarray:
        asked.append(image)
        return source.pixels(image)

    first = object_crops(source, 0.0)
    sizes = (3 * np.prod(first.annotations.sizes, axis=1)).tolist()
    monkeypatch.setattr(object_crops_module, "KEPT_BYTES", sum(sizes[:2]))
    crops = object_crops(Source(source.annotations, pixels), 0.0)
    for _ in range(2):
        for number in range(3):
            found = crops.pixels(number)
            assert np.array_equal(found, first.pixels(number))
            found[:] = 0  # whoever asks may paint on it
    owners = source.annotations.image_index()[[0, 1, 2, 2]]
    assert asked == owners.tolist(), "the third does not fit"


def test_objects_keep_their_boxes_in_crops_of_chance() -> None:
    source = drawn()
    truth = source.annotations
    crops = object_crops(source, 0.5, 1.0, whole=False)
    boxes = to_corners(crops.annotations.boxes, "voc").astype(int).tolist()
    margins = []
    for number, (image, box) in enumerate(zip(truth.image_index(), truth.boxes.astype(int), strict=True)):
        (x1, y1, x2, y2), (a, b, c, d) = boxes[number], box.tolist()
        wanted = source.pixels(int(image))[b - 1 : d, a - 1 : c]
        assert np.array_equal(crops.pixels(number)[y1:y2, x1:x2], wanted)
        height, width = crops.annotations.sizes[number].tolist()
        margins += [
            x1 / (c - a + 1),
            (width - x2) / (c - a + 1),
            y1 / (d - b + 1),
            (height - y2) / (d - b + 1),
        ]
    assert crops.annotations.areas.tolist() == truth.areas.tolist()
    assert max(margins) <= 1 + 1 / 10  # twice the context, and the rounding to whole pixels
    assert len({round(margin, 2) for margin in margins}) > len(margins) / 2
    again = object_crops(source, 0.5, 1.0, whole=False)
    assert np.array_equal(again.annotations.boxes, crops.annotations.boxes)


def test_without_jitter_the_context_is_the_same_on_every_side() -> None:
    source = drawn()
    crops = object_crops(source, 0.25, whole=False)
    inside = to_corners(source.annotations.boxes, "voc")
    sides = inside[:, 2:] - inside[:, :2]
    sizes = source.annotations.sizes[source.annotations.image_index(), ::-1]
    room = ((inside[:, :2] > 0.3 * sides) & (inside[:, 2:] + 0.3 * sides < sizes)).all(axis=1)
    boxes = to_corners(crops.annotations.boxes, "voc")[room]
    np.testing.assert_allclose(boxes[:, :2], 0.25 * sides[room], atol=1)
    assert room.any()


def test_key_points_go_with_their_crops() -> None:
    images = SyntheticSet(3, seed=4, classes=("kite", "dart"))
    truth = images.annotations()
    crops = object_crops(Source(truth, images.render), 0.0).annotations
    assert truth.keypoints is not None
    assert crops.keypoints is not None
    for own, old, box in zip(crops.keypoints, truth.keypoints, truth.boxes, strict=True):
        for (x, y, seen), (old_x, old_y, was) in zip(own.tolist(), old.tolist(), strict=True):
            inside = box[0] - 0.5 <= old_x < box[2] + 0.5 and box[1] - 0.5 <= old_y < box[3] + 0.5
            assert seen == (was if inside else 0)
            if seen:
                assert (x, y) == (old_x - box[0] + 1, old_y - box[1] + 1)
    assert (crops.keypoints[:, :, 2] > 0).any()
