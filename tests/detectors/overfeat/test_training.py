"""Which windows train, by hand."""

from __future__ import annotations

from dataclasses import replace

import torch

from detkit.detectors.overfeat.training import WindowTraining
from detkit.structures import Target

WINDOWS = torch.tensor(
    [
        [0.0, 0, 10, 10],  # the object itself
        [0.0, 0, 10, 20],  # IoU 0.5 with it
        [0.0, 0, 10, 25],  # 0.4: neither
        [0.0, 0, 10, 40],  # 0.25
        [50.0, 50, 60, 60],
        [70.0, 50, 80, 60],
        [90.0, 50, 99, 60],
    ]
)
OBJECT = Target.of(torch.tensor([[0.0, 0, 10, 10]]), torch.tensor([1]))
LIKE = torch.tensor([0.9, 0.2, 0.95, 0.3, 0.1, 0.7, 0.5])


def rows(target: Target, like: torch.Tensor | None = LIKE, **given: object) -> tuple[list[int], list[int]]:
    sampled = WindowTraining(**given).sample(WINDOWS, target, 0, like)  # type: ignore[arg-type]
    assert len(sampled.objects) == len(sampled.positives)
    return sorted(sampled.positives.tolist()), sampled.negatives.tolist()


def test_the_hardest_background_trains_and_what_lies_between_does_not() -> None:
    assert rows(OBJECT, per_image=4) == ([0, 1], [5, 6])
    assert rows(OBJECT) == ([0, 1], [5, 6, 3, 4])
    assert rows(OBJECT, bg_iou=0.2, per_image=5) == ([0, 1], [5, 6, 4])


def test_background_at_random() -> None:
    seen = set()
    for seed in range(20):
        sampled = WindowTraining(per_image=3, negatives="random").sample(WINDOWS, OBJECT, seed, None)
        seen.update(sampled.negatives.tolist())
        assert len(sampled.negatives) == 1
    assert seen == {3, 4, 5, 6}


def test_an_object_that_no_window_fits_has_the_nearest() -> None:
    long = Target.of(torch.tensor([[50.0, 0, 60, 100]]), torch.tensor([0]))
    assert rows(long)[0] == [4]


def test_at_most_a_share_shows_objects() -> None:
    positives, negatives = rows(OBJECT, per_image=4, fg_fraction=0.25)
    assert (len(positives), len(negatives)) == (1, 3)


def test_difficult_objects_and_crowds_are_neither() -> None:
    two = Target.of(torch.tensor([[0.0, 0, 10, 10], [48, 48, 62, 62]]), torch.tensor([1, 0]))
    unsure = replace(two, difficult=torch.tensor([True, False]), crowd=torch.tensor([False, True]))
    assert rows(unsure) == ([], [5, 6, 3])


def test_without_objects_all_is_background() -> None:
    nothing = Target.of(torch.zeros((0, 4)), torch.zeros(0, dtype=torch.int64))
    assert rows(nothing, per_image=3) == ([], [2, 0, 5])


def test_a_box_trains_where_half_of_the_object_is_seen() -> None:
    windows = torch.tensor([[0.0, 0, 10, 10], [5, 0, 15, 10], [6, 0, 16, 10]])
    boxes = torch.tensor([[0.0, 0, 10, 10]]).repeat(3, 1)
    assert WindowTraining().shows_its_object(windows, boxes).tolist() == [True, True, False]
    # The share of the object counts, and not that of the window.
    assert WindowTraining().shows_its_object(torch.tensor([[0.0, 0, 90, 90]]), boxes[:1]).all()
    assert not WindowTraining().shows_its_object(torch.tensor([[0.0, 0, 4, 4]]), boxes[:1]).any()
    assert WindowTraining(box_overlap=0.3).shows_its_object(windows, boxes).all()
    assert WindowTraining().shows_its_object(windows[:0], boxes[:0]).shape == (0,)
