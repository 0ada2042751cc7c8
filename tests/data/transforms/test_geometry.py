from __future__ import annotations

import math

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision import tv_tensors
from torchvision.transforms.v2 import functional

from detkit.data.transforms.geometric import about_centre
from detkit.data.transforms.geometry import move, move_boxes, scaling, shift
from detkit.structures import Target

coordinate = st.floats(-50, 150, width=32)
matrices = st.lists(st.floats(-2, 2), min_size=6, max_size=6).map(
    lambda values: torch.tensor(values, dtype=torch.float64).reshape(2, 3)
)


def target_of(boxes: list[list[float]], crowd: list[bool] | None = None) -> Target:
    count = len(boxes)
    return Target(
        torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        torch.arange(count),
        torch.arange(count) % 2 == 1,
        torch.tensor(crowd or [False] * count, dtype=torch.bool),
        torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        5,
    )


@settings(deadline=None)
@given(st.lists(coordinate, min_size=4, max_size=4), matrices)
def test_box_is_around_its_four_mapped_corners(values: list[float], matrix: torch.Tensor) -> None:
    x1, x2 = sorted((values[0], values[2]))
    y1, y2 = sorted((values[1], values[3]))
    corners = [(x, y) for x in (x1, x2) for y in (y1, y2)]
    mapped = np.array([matrix.numpy() @ np.array([x, y, 1.0]) for x, y in corners])
    expected = np.concatenate([mapped.min(axis=0), mapped.max(axis=0)])
    moved = move_boxes(np.array([[x1, y1, x2, y2]], np.float32), matrix.numpy())
    np.testing.assert_allclose(moved[0], expected, rtol=1e-5, atol=1e-4)


def test_objects_go_by_their_centre_and_take_their_rows_along() -> None:
    target = target_of([[-6, 0, 4, 8], [-4, 0, 6, 8], [2, 2, 4, 4], [8, 0, 12, 8], [7, 5, 12, 9]])
    moved = move(target, shift(0, 0), (8, 10))
    # The centres are at x = -1, 1, 3, 10 (the first column outside) and 9.5; the others are clipped.
    assert moved.boxes.tolist() == [[0, 0, 6, 8], [2, 2, 4, 4], [7, 5, 10, 8]]
    assert moved.labels.tolist() == [1, 2, 4]
    assert moved.difficult.tolist() == [True, False, False]
    assert moved.crowd.tolist() == [False] * 3
    assert moved.image == 5


def test_crowds_and_proposals_stay_while_visible() -> None:
    target = target_of([[-6, 0, 4, 8], [-6, 0, -1, 8], [10, 0, 20, 8]], crowd=[True, True, True])
    moved = move(target, shift(0, 0), (8, 10))
    assert moved.boxes.tolist() == [[0, 0, 4, 8]]
    assert moved.proposals is not None
    assert moved.proposals.tolist() == [[0, 0, 4, 8]]


def test_empty_stays_empty() -> None:
    moved = move(target_of([]), scaling(2, 3), (10, 10))
    assert moved.boxes.shape == (0, 4)
    assert moved.proposals is not None
    assert moved.proposals.shape == (0, 4)
    assert move(Target.of(torch.zeros(0, 4), torch.zeros(0)), scaling(2, 3), (10, 10)).proposals is None


def by_matrix(boxes: torch.Tensor, matrix: torch.Tensor) -> torch.Tensor:
    return torch.from_numpy(move_boxes(boxes.numpy(), matrix.numpy()))


def test_same_boxes_as_torchvision() -> None:
    boxes = torch.tensor([[10.0, 20.0, 40.0, 50.0], [60.0, 30.0, 90.0, 70.0]])
    wrapped = tv_tensors.BoundingBoxes(boxes, format="XYXY", canvas_size=(80, 100))
    mirror = scaling(-1, 1)
    mirror[0, 2] = 100
    torch.testing.assert_close(
        by_matrix(boxes, mirror), functional.horizontal_flip(wrapped).as_subclass(torch.Tensor)
    )
    torch.testing.assert_close(
        by_matrix(boxes, scaling(1.5, 2.0)),
        functional.resize(wrapped, [160, 150]).as_subclass(torch.Tensor),
    )
    turned = functional.affine(wrapped, angle=4.0, translate=[0, 0], scale=1.0, shear=[0.0, 0.0])
    ours = by_matrix(boxes, torch.from_numpy(about_centre(math.radians(4.0), 0.0, 1.0, (80, 100))))
    torch.testing.assert_close(ours, turned.as_subclass(torch.Tensor), atol=1e-3, rtol=0)
