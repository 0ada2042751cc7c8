from __future__ import annotations

import numpy as np
import pytest
import torch
import torchvision

from detkit.ops.nms import Decay, _moved_apart, grouped_nms, nms, nms_by_own_area, soft_nms
from tests.reference import overlaps


def scores_of(num: int, seed: int) -> torch.Tensor:
    return torch.rand(num, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("limit", [0.3, 0.7])
def test_equals_the_reference(limit: float) -> None:
    boxes, scores = overlaps.random_boxes(60, 0), scores_of(60, 0)
    assert nms(torch.tensor(boxes), scores, limit).tolist() == overlaps.nms(boxes, scores.tolist(), limit)


def test_overlap_equal_to_the_limit_is_kept() -> None:
    boxes = torch.tensor([[0.0, 0.0, 2.0, 2.0], [0.0, 0.0, 2.0, 1.0]])
    assert nms(boxes, torch.tensor([0.9, 0.8]), 0.5).tolist() == [0, 1]
    assert nms(boxes, torch.tensor([0.9, 0.8]), 0.4999).tolist() == [0]


def test_groups_are_alone() -> None:
    boxes, scores = overlaps.random_boxes(80, 1), scores_of(80, 1)
    groups = torch.arange(80) * 7 % 5
    expected = []
    for group in range(5):
        rows = [row for row in range(80) if groups[row] == group]
        kept = overlaps.nms([boxes[row] for row in rows], [scores[row].item() for row in rows], 0.3)
        expected += [rows[row] for row in kept]
    expected.sort(key=lambda row: -scores[row].item())
    assert grouped_nms(torch.tensor(boxes), scores, groups, 0.3).tolist() == expected


def test_many_large_groups_lose_no_precision() -> None:
    # IoU of the pair is 0.5 + 1e-4; moving it by 1e8 px in float32 would merge the corners.
    pair = torch.tensor([[0.0, 0.0, 1.0, 1.0], [0.0, 0.0, 1.0, 0.5001]])
    boxes = torch.cat((pair, torch.tensor([[1e5, 1e5, 2e5, 2e5]])))
    kept = grouped_nms(boxes, torch.tensor([0.9, 0.8, 0.7]), torch.tensor([1000, 1000, 0]), 0.5)
    assert kept.tolist() == [0, 2]


def test_equal_scores_keep_their_order() -> None:
    boxes = torch.tensor([[0.0, 0.0, 1.0, 1.0], [5.0, 5.0, 6.0, 6.0], [9.0, 9.0, 10.0, 10.0]])
    assert grouped_nms(boxes, torch.ones(3), torch.tensor([2, 1, 0]), 0.5).tolist() == [0, 1, 2]


def test_empty_and_half_precision() -> None:
    nothing = torch.zeros(0, dtype=torch.int64)
    assert nms(torch.zeros(0, 4), torch.zeros(0), 0.5).shape == (0,)
    assert grouped_nms(torch.zeros(0, 4), torch.zeros(0), nothing, 0.5).dtype == torch.int64
    assert nms(torch.ones(1, 4).bfloat16(), torch.ones(1).bfloat16(), 0.5).tolist() == [0]


@pytest.mark.parametrize("limit", [0.1, 0.3, 0.5, 0.7, 1.0])
def test_same_as_torchvision(limit: float) -> None:
    boxes = torch.tensor(overlaps.random_boxes(400, 2)).round()  # many overlaps are equal to the limit
    boxes[::50, 2:] = boxes[::50, :2]  # some boxes have no area
    scores = (20 * scores_of(400, 3)).round()  # and many scores are equal
    wanted = torchvision.ops.nms(boxes, scores, limit)
    assert torch.equal(nms(boxes, scores, limit), wanted)
    for at_most in (0, 1, 7, len(wanted), 400):
        assert torch.equal(nms(boxes, scores, limit, at_most), wanted[:at_most])


@pytest.mark.parametrize("seed", range(5))
def test_unusual_boxes_and_scores_end_as_in_torchvision(seed: int) -> None:
    draw = torch.Generator().manual_seed(seed)
    boxes = (torch.rand(50, 4, generator=draw) * 4).round()  # of no area, turned, or of another's place
    scores = (4 * scores_of(50, seed)).round()
    scores[:3], scores[3:6] = torch.inf, -torch.inf
    groups = torch.randint(3, (50,), generator=draw)
    assert torch.equal(nms(boxes, scores, 0.5), torchvision.ops.nms(boxes, scores, 0.5))
    assert torch.equal(nms(boxes[:1], scores[:1], 0.5), torch.tensor([0]))
    alone = [rows[torchvision.ops.nms(boxes[rows], scores[rows], 0.5)] for rows in map(groups.eq, range(3))
             for rows in [rows.nonzero()[:, 0]]]  # fmt: skip
    kept = torch.cat(alone).sort().values
    best_first = kept[scores[kept].sort(descending=True, stable=True).indices]
    assert torch.equal(grouped_nms(boxes, scores, groups, 0.5), best_first)


def test_at_most_so_many_over_all_groups() -> None:
    boxes, scores = torch.tensor(overlaps.random_boxes(80, 1)), scores_of(80, 1)
    groups = torch.arange(80) % 3
    wanted = grouped_nms(boxes, scores, groups, 0.3)
    for at_most in (0, 1, 5, 80):
        assert torch.equal(grouped_nms(boxes, scores, groups, 0.3, at_most), wanted[:at_most])


def test_groups_moved_apart_are_alone_too() -> None:
    boxes, scores = torch.tensor(overlaps.random_boxes(200, 4)) - 50, scores_of(200, 4)
    for num_groups, factor in ((1, 1), (7, 1), (7, 100_000)):
        groups = torch.arange(200) % num_groups * factor
        assert torch.equal(_moved_apart(boxes, scores, groups, 0.3), grouped_nms(boxes, scores, groups, 0.3))


@pytest.mark.parametrize("share", [0.3, 0.5, 0.7])
def test_a_box_goes_where_a_better_one_covers_enough_of_it(share):
    generator = np.random.default_rng(0)
    corners = generator.uniform(0, 60, (80, 2))
    boxes = np.concatenate([corners, corners + generator.uniform(1, 40, (80, 2))], axis=1)
    scores = generator.integers(0, 20, 80) / 20  # some are equal
    kept = []
    for row in sorted(range(80), key=lambda place: (-scores[place], -place)):
        x1, y1, x2, y2 = boxes[row]
        shares = [0.0]
        for other in kept:
            a, b, c, d = boxes[other]
            shared = max(min(x2, c) - max(x1, a), 0) * max(min(y2, d) - max(y1, b), 0)
            shares.append(shared / ((x2 - x1) * (y2 - y1)))
        if max(shares) <= share:
            kept.append(row)
    found = nms_by_own_area(torch.from_numpy(boxes), torch.from_numpy(scores), share)
    assert 5 < len(kept) < 80
    assert found.tolist() == kept


def test_no_boxes_cover_nothing():
    assert nms_by_own_area(torch.zeros((0, 4)), torch.zeros(0), 0.5).tolist() == []


def test_boxes_that_need_a_gradient_are_only_looked_at() -> None:
    boxes = torch.tensor([[0.0, 0, 10, 10], [2, 2, 6, 6]], requires_grad=True)
    assert nms_by_own_area(boxes, torch.tensor([0.9, 0.5]), 0.5).tolist() == [0]


@pytest.mark.parametrize("decay", ["linear", "gaussian"])
@pytest.mark.parametrize("seed", [0, 1])
def test_soft_nms_equals_the_reference(decay: Decay, seed: int) -> None:
    boxes, scores = overlaps.random_boxes(60, seed), scores_of(60, seed)
    groups = torch.arange(60) * 7 % 3
    expected: list[tuple[int, float]] = []
    for group in range(3):
        rows = [row for row in range(60) if groups[row] == group]
        limit = None if decay == "gaussian" else 0.3
        chosen = [boxes[row] for row in rows]
        found = overlaps.soft_nms(chosen, scores[rows].tolist(), limit, 0.4, 0.05)
        expected += [(rows[row], score) for row, score in found]
    expected.sort(key=lambda pair: -pair[1])
    kept, lowered = soft_nms(torch.tensor(boxes), scores, groups, decay, iou=0.3, sigma=0.4, min_score=0.05)
    assert kept.tolist() == [row for row, _ in expected]
    assert 20 < len(kept) < 60
    np.testing.assert_allclose(lowered.numpy(), [score for _, score in expected], rtol=1e-5)


def test_soft_nms_of_nothing_of_equal_scores_and_of_boxes_without_area() -> None:
    nothing = torch.zeros(0, dtype=torch.int64)
    kept, lowered = soft_nms(torch.zeros(0, 4), torch.zeros(0), nothing, "linear")
    assert (kept.tolist(), lowered.tolist()) == ([], [])
    boxes = torch.tensor([[5.0, 5.0, 5.0, 5.0], [5.0, 5.0, 5.0, 5.0], [5.0, 5.0, 6.0, 6.0]])
    scores = torch.full((3,), 0.5)
    kept, lowered = soft_nms(boxes, scores, torch.tensor([1, 1, 0]), "gaussian")
    assert (kept.tolist(), lowered.tolist(), scores.tolist()) == ([0, 1, 2], [0.5] * 3, [0.5] * 3)
