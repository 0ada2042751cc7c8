from __future__ import annotations

import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from detkit.annotations.keypoints import KeypointLayout
from detkit.data.datasets.index import Index, Strings
from tests.reference.small_set import SIZES, Touching, as_is, small_set


def test_targets_are_the_annotations_in_continuous_corners() -> None:
    annotations = small_set()
    index = Index.of(annotations)
    assert len(index) == 7
    assert [index.size(image) for image in range(7)] == list(SIZES)
    assert [len(index.target(image)) for image in range(7)] == [0, 1, 2, 0, 1, 2, 0]
    target = index.target(5)
    assert target.boxes.tolist() == [[0, 1, 8, 9], [1, 1, 9, 9]]
    assert target.boxes.dtype == torch.float32
    assert target.labels.tolist() == [1, 2]
    assert target.labels.dtype == torch.int64
    assert target.difficult.tolist() == [False, True]
    assert target.crowd.tolist() == [False, False]
    assert target.image == 5
    assert target.proposals is None
    assert index.path(3) == "/photos/image3.jpg"


def test_coco_boxes_are_corners_too() -> None:
    annotations = small_set()
    boxes = np.array([[1.0, 2.0, 3.0, 4.0]] * annotations.num_objects)
    index = Index.of(replace(annotations, boxes=boxes, box_format="coco"))
    assert index.target(1).boxes.tolist() == [[1, 2, 4, 6]]


def test_targets_are_copies() -> None:
    index = Index.of(small_set())
    index.target(1).boxes.fill_(5)
    index.target(1).difficult.fill_(True)
    assert index.target(1).boxes.tolist() == [[0, 1, 8, 9]]
    assert index.target(1).difficult.tolist() == [False]


def test_no_objects_and_no_images() -> None:
    index = Index.of(small_set(((10, 12),)))
    assert index.target(0).boxes.shape == (0, 4)
    assert len(Index.of(small_set(()))) == 0


@settings(deadline=None)
@given(st.lists(st.text(st.characters(codec="utf-8"))))
def test_strings_come_back(strings: list[str]) -> None:
    packed = Strings.of(strings)
    assert [packed[position] for position in range(len(packed))] == strings
    assert packed.data.is_shared()


def test_names_that_are_not_utf8_come_back() -> None:
    name = b"caf\xe9.jpg".decode("utf-8", "surrogateescape")
    assert Strings.of([name])[0] == name


def test_pickling_keeps_everything() -> None:
    index = pickle.loads(pickle.dumps(Index.of(small_set())))
    assert index.target(2).labels.tolist() == [1, 2]
    assert index.path(6) == "/photos/image6.jpg"


@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_a_worker_sees_the_same_memory(start: str) -> None:
    index = Index.of(small_set())
    loader = DataLoader(
        Touching(index), batch_size=1, sampler=[1], num_workers=1, collate_fn=as_is,
        multiprocessing_context=start,
    )  # fmt: skip
    assert list(loader) == [[(True, "/photos/image1.jpg", [[0, 1, 8, 9]])]]
    assert index.boxes[0, 0] == 77.0  # written by the worker


def test_key_points_are_in_continuous_pixels() -> None:
    """The middle of the first pixel is 0.5, whatever a source calls it."""
    annotations = small_set()
    points = np.zeros((annotations.num_objects, 2, 3))
    points[0] = [[1, 5, 2], [3, 7, 1]]
    layout = KeypointLayout(("left", "right"))
    for box_format, first in (
        ("voc", [[0.5, 4.5, 2], [2.5, 6.5, 1]]),
        ("coco", [[1.5, 5.5, 2], [3.5, 7.5, 1]]),
    ):
        index = Index.of(replace(annotations, box_format=box_format, keypoints=points, layout=layout))
        target = index.target(1)
        assert target.keypoints is not None
        assert target.keypoints.tolist() == [first]
        assert target.mirrored == (1, 0)
        assert target.to(torch.device("cpu")).keypoints is not None
        again = pickle.loads(pickle.dumps(index)).target(1)
        assert torch.equal(again.keypoints, target.keypoints)
    assert Index.of(annotations).target(1).keypoints is None
