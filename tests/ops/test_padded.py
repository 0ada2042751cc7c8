from __future__ import annotations

import torch

from detkit.ops.padded import NOTHING, best_of, clip_each, rows_at, unsuppressed
from tests.reference.overlaps import nms


def test_each_group_is_suppressed_by_itself() -> None:
    draw = torch.Generator().manual_seed(0)
    corner = torch.rand((3, 40, 2), generator=draw) * 60
    boxes = torch.cat([corner, corner + 10 + torch.rand((3, 40, 2), generator=draw) * 30], dim=2)
    scores = torch.rand((3, 40), generator=draw)
    scores[1, :7] = NOTHING
    scores[2] = NOTHING
    found = unsuppressed(boxes, scores, 0.4)
    for own, group, score in zip(found, boxes, scores, strict=True):
        kept = torch.nonzero(own > NOTHING).squeeze(1)
        there = torch.nonzero(score > NOTHING).squeeze(1)
        wanted = nms(group[there].tolist(), score[there].tolist(), 0.4)
        assert kept.tolist() == sorted(there[wanted].tolist())
        assert own[kept].equal(score[kept])
    assert 3 < int((found[0] > NOTHING).sum()) < 40


def test_the_best_are_filled_up_with_nothing() -> None:
    scores = torch.tensor([[0.5, NOTHING, 0.25, 0.75]])
    best, places = best_of(scores, 6)
    assert best.tolist() == [[0.75, 0.5, 0.25] + 3 * [NOTHING]]
    assert places[0, :3].tolist() == [3, 0, 2]
    assert int(places.max()) <= 3
    assert best_of(scores, 2)[1].tolist() == [[3, 0]]


def test_rows_and_limits_are_those_of_each_image() -> None:
    values = torch.arange(12).view(2, 3, 2)
    assert rows_at(values, torch.tensor([[2, 2], [0, 1]])).tolist() == [[[4, 5], [4, 5]], [[6, 7], [8, 9]]]
    boxes = torch.tensor([[[-1.0, -2.0, 50.0, 60.0]], [[3.0, 4.0, 50.0, 60.0]]])
    clipped = clip_each(boxes, torch.tensor([[20, 30], [55, 40]]))
    assert clipped.tolist() == [[[0, 0, 30, 20]], [[3, 4, 40, 55]]]
