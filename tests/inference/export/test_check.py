from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import nn

from detkit.data.transforms.resize import Resize
from detkit.inference.export.check import Tolerance, check_batches, compare
from detkit.inference.export.graph import GraphDetector
from detkit.structures import Detections, ImageBatch

LIMIT = Tolerance(box_px=0.5, keypoint_px=0.5, score=0.01, alone=0.1, map_drop=0.0)
BOXES = [[0.0, 0.0, 50.0, 40.0], [10.0, 20.0, 30.0, 60.0], [70.0, 70.0, 90.0, 99.0]]


class Says(nn.Module):
    """A detector that always says the same."""

    def __init__(
        self,
        boxes: Sequence[Sequence[float]],
        scores: Sequence[float],
        labels: Sequence[int],
        keypoints: torch.Tensor | None = None,
    ) -> None:
        super().__init__()
        corners, classes = torch.tensor(boxes).view(-1, 4), torch.tensor(labels, dtype=torch.int64)
        self.found = Detections(corners, torch.tensor(scores), classes, keypoints=keypoints)

    def detect(self, images: ImageBatch) -> list[Detections]:
        return [self.found] * len(images)


def batch(num: int = 1) -> ImageBatch:
    return ImageBatch(
        torch.zeros(num, 3, 100, 100, dtype=torch.uint8), ((100, 100),) * num, ((100, 100),) * num
    )


def test_the_order_of_detections_says_nothing() -> None:
    ours = Says(BOXES, [0.9, 0.8, 0.7], [0, 1, 0])
    theirs = Says([BOXES[1], BOXES[2], [0.0, 0.25, 50.0, 40.0]], [0.8, 0.7, 0.895], [1, 0, 0])
    found = compare(ours, theirs, [batch(2), batch()], LIMIT)
    assert (found.detections, found.alone) == (9, 0)
    assert found.box_px == pytest.approx(0.25)
    assert found.score == pytest.approx(0.005)
    assert found.batches == ((2, 100, 100), (1, 100, 100))
    assert found.is_within(LIMIT)


@pytest.mark.parametrize(
    ("boxes", "scores", "labels", "alone"),
    [
        ([BOXES[0], BOXES[1]], [0.9, 0.8], [0, 1], 0),  # the last one lies at the threshold
        ([BOXES[0], BOXES[2]], [0.9, 0.7], [0, 0], 1),
        ([BOXES[0], BOXES[1], BOXES[2]], [0.9, 0.8, 0.7], [0, 2, 0], 2),  # of another class
        ([], [], [], 2),
    ],
)
def test_what_only_one_has_counts_unless_chance_decides(
    boxes: list[list[float]], scores: list[float], labels: list[int], alone: int
) -> None:
    found = compare(Says(BOXES, [0.9, 0.8, 0.7], [0, 1, 0]), Says(boxes, scores, labels), [batch()], LIMIT)
    assert found.alone == alone
    assert found.is_within(LIMIT) == (alone == 0)


def test_a_moved_box_and_another_score_are_refused() -> None:
    ours = Says(BOXES[:1], [0.9], [0])
    assert not compare(ours, Says([[0.0, 0.0, 51.0, 40.0]], [0.9], [0]), [batch()], LIMIT).is_within(LIMIT)
    assert not compare(ours, Says(BOXES[:1], [0.92], [0]), [batch()], LIMIT).is_within(LIMIT)
    nothing = Says([], [], [])
    assert compare(nothing, nothing, [batch()], LIMIT).is_within(LIMIT)


POINTS = torch.arange(12.0).view(3, 2, 2)


def test_key_points_are_compared_with_those_of_the_same_detection() -> None:
    ours = Says(BOXES, [0.9, 0.8, 0.7], [0, 1, 0], POINTS)
    turned = torch.tensor([1, 2, 0])
    near, far = POINTS[turned].clone(), POINTS[turned].clone()
    near[1, 1, 0] += 0.25
    far[1, 1, 0] -= 1
    for points, apart in ((near, 0.25), (far, 1.0), (None, float("inf"))):
        theirs = Says([BOXES[row] for row in turned], [0.8, 0.7, 0.9], [1, 0, 0], points)
        found = compare(ours, theirs, [batch(2)], LIMIT)
        assert found.keypoint_px == pytest.approx(apart)
        assert found.is_within(LIMIT) == (apart < 0.5)
    without = Says(BOXES, [0.9, 0.8, 0.7], [0, 1, 0])
    assert compare(without, without, [batch()], LIMIT).keypoint_px is None


@pytest.mark.parametrize("part", ["boxes", "scores", "keypoints"])
def test_what_is_no_number_is_never_the_same(part: str) -> None:
    ours, theirs = (Says(BOXES, [0.9, 0.8, 0.7], [0, 1, 0], POINTS.clone()) for _ in range(2))
    getattr(theirs.found, part)[0] = float("nan")
    assert not compare(ours, theirs, [batch()], LIMIT).is_within(LIMIT)
    assert not compare(theirs, ours, [batch()], LIMIT).is_within(LIMIT)


def test_one_guess_an_image_that_the_other_lacks_is_no_chance() -> None:
    nothing, best = Says([], [], []), [Says(BOXES[:1], [score], [0]) for score in (0.9, 0.2)]

    class InTurn(nn.Module):
        def detect(self, images: ImageBatch) -> list[Detections]:
            return [one.found for one in best]

    found = compare(InTurn(), nothing, [batch(2)], LIMIT)
    assert found.alone == 1, "the lower of the two may be at the threshold"
    assert not found.is_within(LIMIT)


def test_five_sizes_one_and_two_images_and_an_empty_one() -> None:
    pictures = [np.zeros((90, 120, 3), np.uint8), np.ones((200, 100, 3), np.uint8)]
    batches = list(check_batches(pictures, Resize((64,), 100), is_given=True))
    alone = [one for one in batches if len(one) == 1]
    assert len({one.sizes for one in alone[:5]}) == 5
    assert {len(one) for one in batches} == {1, 2}
    given = [len(own) for one in alone for own in one.proposals or ()]
    assert given[:5] == [60] * 5
    assert given[5] == 0
    for one in batches:
        for boxes, (height, width) in zip(one.proposals or (), one.sizes, strict=True):
            assert (boxes[:, 2:] >= boxes[:, :2]).all()
            assert (boxes <= torch.tensor([width, height, width, height]) + 1e-3).all()
    assert all(one.proposals is None for one in check_batches(pictures, Resize((64,), 100), is_given=False))


def test_a_graph_is_called_with_arrays_and_cut_to_what_is_there() -> None:
    seen: dict[str, np.ndarray] = {}

    def call(arrays: dict[str, np.ndarray]) -> list[np.ndarray]:
        seen.update(arrays)
        boxes = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
        scores = np.array([[0.9, 0.5, 0], [0, 0, 0]], np.float32)
        return [boxes, scores, np.zeros((2, 3), np.int64), np.array([2, 0])]

    proposals = (torch.ones(3, 4), torch.zeros(0, 4))
    images = ImageBatch(batch(2).pixels, ((100, 90), (80, 100)), ((200, 180), (160, 200)), proposals)
    found = GraphDetector(call, takes_proposals=True).detect(images)  # type: ignore[arg-type]
    assert [len(one) for one in found] == [2, 0]
    assert found[0].boxes.tolist() == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert list(seen) == ["images", "sizes", "originals", "proposals", "num_proposals"]
    assert seen["sizes"].tolist() == [[100, 90], [80, 100]]
    assert seen["originals"].tolist() == [[200, 180], [160, 200]]
    assert seen["proposals"].shape == (2, 3, 4)
    assert seen["num_proposals"].tolist() == [3, 0]
