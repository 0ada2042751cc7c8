"""Which placements train, and what their errors cost, by hand."""

from __future__ import annotations

from dataclasses import replace

import torch

from detkit.detectors.dpm_cnn.latent import LatentSVM, Overlaps
from detkit.structures import Target

WINDOWS = torch.tensor(
    [
        [0.0, 0.0, 10.0, 10.0],  # the object itself
        [0.0, 0.0, 10.0, 8.0],  # IoU 0.8 with it
        [0.0, 0.0, 10.0, 5.0],  # 0.5
        [0.0, 0.0, 10.0, 2.0],  # 0.2
        [50.0, 50.0, 60.0, 60.0],
        [90.0, 90.0, 99.0, 99.0],
    ]
)
OBJECT = Target.of(torch.tensor([[0.0, 0.0, 10.0, 10.0]]), torch.tensor([1]))
MARGINS = torch.tensor([[0.1, 0.9, 0.3, -3.0, 0.2, -2.0], [0.4, 0.6, 5.0, 0.7, -0.5, -4.0]])


def test_the_best_placement_of_those_that_may_stands_for_the_object() -> None:
    labels, windows = LatentSVM().positives(MARGINS, Overlaps.of(WINDOWS, OBJECT))
    # The third is better, but overlaps too little.
    assert (labels.tolist(), windows.tolist()) == ([1], [1])
    assert LatentSVM(fg_iou=0.5).positives(MARGINS, Overlaps.of(WINDOWS, OBJECT))[1].tolist() == [2]


def test_where_none_overlaps_enough_the_nearest_stands_for_it() -> None:
    own = Overlaps.of(WINDOWS[2:], OBJECT)
    assert LatentSVM().positives(MARGINS[:, 2:], own)[1].tolist() == [0]
    # What would be a negative stands for nothing.
    assert LatentSVM().positives(MARGINS[:, 3:], Overlaps.of(WINDOWS[3:], OBJECT))[0].tolist() == []


def test_difficult_objects_and_crowds_are_neither_positive_nor_negative() -> None:
    both = Target.of(torch.tensor([[0.0, 0.0, 10.0, 10.0], [85.0, 85.0, 100.0, 100.0]]), torch.tensor([1, 0]))
    unsure = replace(both, difficult=torch.tensor([True, False]), crowd=torch.tensor([False, True]))
    overlaps = Overlaps.of(WINDOWS, unsure)
    assert LatentSVM().positives(MARGINS, overlaps)[0].tolist() == []
    labels, windows = LatentSVM().negatives(MARGINS, overlaps, 1)
    negative = set(zip(labels.tolist(), windows.tolist(), strict=True))
    # Of class 1 those on the difficult object are not, of no class the one within the crowd.
    assert negative == {(0, 0), (0, 1), (0, 2), (0, 3), (0, 4), (1, 3), (1, 4)}


def test_negatives_are_the_hardest_below_the_overlap_of_their_own_class() -> None:
    chosen = LatentSVM(negatives_per_image=4).negatives(MARGINS, Overlaps.of(WINDOWS, OBJECT), 1)
    assert list(zip(*(part.tolist() for part in chosen), strict=True)) == [(0, 1), (1, 3), (0, 2), (0, 4)]


def test_of_the_components_of_a_place_the_best_is_the_negative() -> None:
    # Two components at each of three places.
    chosen = LatentSVM().negatives(MARGINS, Overlaps.of(WINDOWS, OBJECT), 2)
    pairs = list(zip(*(part.tolist() for part in chosen), strict=True))
    assert pairs == [(0, 1), (1, 3), (0, 2), (0, 4), (1, 4)]


def test_the_loss_is_the_errors_of_both_for_each_object() -> None:
    margins = MARGINS.clone().requires_grad_()
    loss = LatentSVM(negatives_per_image=3).loss(margins, Overlaps.of(WINDOWS, OBJECT), 1)
    # 1 - 0.6 of the positive, 1 + 0.9, 1 + 0.7 and 1 + 0.3 of negatives.
    torch.testing.assert_close(loss, torch.tensor(0.4 + 1.9 + 1.7 + 1.3))
    loss.backward()
    expected = torch.tensor([[0.0, 1, 1, 0, 0, 0], [0, -1, 0, 1, 0, 0]])
    assert margins.grad is not None
    assert torch.equal(margins.grad, expected)
    twice = Target.of(OBJECT.boxes.repeat(2, 1), torch.tensor([1, 1]))
    twice_as_many = LatentSVM(negatives_per_image=3).loss(margins, Overlaps.of(WINDOWS, twice), 1)
    torch.testing.assert_close(twice_as_many, torch.tensor((2 * 0.4 + 1.9 + 1.7 + 1.3) / 2))


def test_what_is_beyond_the_margin_costs_nothing() -> None:
    margins = torch.tensor([[-1.5, 2.0], [-1.0, 1.0]])
    windows = torch.tensor([[50.0, 50, 60, 60], [0, 0, 10, 10]])
    overlaps = Overlaps.of(windows, Target.of(OBJECT.boxes.repeat(2, 1), torch.tensor([0, 1])))
    assert LatentSVM().loss(margins, overlaps, 1).item() == 0


def test_without_objects_all_windows_are_negatives_and_without_windows_there_is_no_loss() -> None:
    nothing = Target.of(torch.zeros((0, 4)), torch.zeros(0, dtype=torch.int64))
    loss = LatentSVM(negatives_per_image=2).loss(MARGINS, Overlaps.of(WINDOWS, nothing), 1)
    torch.testing.assert_close(loss, torch.tensor(6.0 + 1.9))
    none = torch.zeros((2, 0), requires_grad=True)
    assert LatentSVM().loss(none, Overlaps.of(torch.zeros((0, 4)), OBJECT), 1).item() == 0
