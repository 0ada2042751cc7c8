from __future__ import annotations

from dataclasses import replace

import torch

from detkit.structures import Target
from detkit.training.staged.region_labels import negatives_of_classes

SETTINGS = {"below_iou": 0.3, "crowd_iou": 0.7}


def test_a_region_is_a_negative_of_the_classes_it_overlaps_little() -> None:
    target = Target.of(
        torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 10], [50, 0, 60, 10]]), torch.tensor([0, 2, 0])
    )
    boxes = torch.tensor(
        [
            [0.0, 0, 10, 10],  # the objects themselves
            [50, 0, 60, 10],  # another object of class 0 alone
            [0, 0, 10, 3],  # IoU 0.3 exactly: not below
            [0, 0, 10, 2.9],
            [20, 20, 30, 30],
        ]
    )
    negative = negatives_of_classes(boxes, target, 3, **SETTINGS)
    assert negative.tolist() == [
        [False, True, False],
        [False, True, True],
        [False, True, False],
        [True, True, True],
        [True, True, True],
    ]


def test_difficult_objects_and_crowds_keep_regions_from_being_negatives() -> None:
    target = Target.of(torch.tensor([[0.0, 0, 100, 100], [200, 0, 300, 100]]), torch.tensor([0, 1]))
    target = replace(target, crowd=torch.tensor([True, False]), difficult=torch.tensor([False, True]))
    boxes = torch.tensor([[0.0, 0, 10, 10], [95, 0, 105, 10], [0, 0, 200, 100], [200, 0, 300, 90]])
    negative = negatives_of_classes(boxes, target, 2, **SETTINGS)
    # Inside the crowd; half inside; around it (IoU 0.5, but only half of it lies in it); on the difficult.
    assert negative.tolist() == [[False, True], [True, True], [True, True], [True, False]]


def test_without_objects_every_region_is_a_negative_of_all() -> None:
    target = Target.of(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64))
    assert negatives_of_classes(torch.rand(2, 4), target, 3, **SETTINGS).all()
    assert negatives_of_classes(torch.zeros(0, 4), target, 3, **SETTINGS).shape == (0, 3)
