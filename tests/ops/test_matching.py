from __future__ import annotations

import random

import pytest
import torch
from torchvision.models.detection._utils import Matcher

from detkit.ops.boxes import pairwise_iou
from detkit.ops.matching import BACKGROUND, IGNORED, match
from tests.reference import overlaps


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("band", [(0.0, 0.3), (0.1, 0.5)])
def test_equals_the_reference(seed: int, force: bool, band: tuple[float, float]) -> None:
    draw = random.Random(seed)
    # Few distinct values, so that ties are common.
    table = [[draw.choice([0.0, 0.0, 0.1, 0.2, 0.3, 0.5, 0.7, 0.8]) for _ in range(4)] for _ in range(15)]
    expected = overlaps.match(table, 0.7, *band, force)
    assert match(torch.tensor(table, dtype=torch.float64), 0.7, band, force).tolist() == expected


@pytest.mark.parametrize("force", [False, True])
def test_equals_torchvision_where_every_object_is_touched(force: bool) -> None:
    iou = pairwise_iou(torch.tensor(overlaps.random_boxes(200, 0)), torch.tensor(overlaps.random_boxes(6, 1)))
    assert (iou.amax(dim=0) > 0).all()
    assert torch.equal(match(iou, 0.5, (0.0, 0.3), force), Matcher(0.5, 0.3, force)(iou.T))


def test_an_object_that_nothing_touches_makes_nothing_positive() -> None:
    iou = torch.tensor([[0.0, 0.6], [0.0, 0.1]])
    assert match(iou, 0.7, (0.0, 0.3), True).tolist() == [1, BACKGROUND]


def test_a_forced_box_stands_for_its_own_best_object() -> None:
    iou = torch.tensor([[0.6, 0.5], [0.65, 0.1]])  # box 0 is object 1's best, but prefers object 0
    assert match(iou, 0.7, (0.0, 0.3), True).tolist() == [0, 0]


def test_ends_of_the_bands() -> None:
    iou = torch.tensor([[0.7], [0.3], [0.1], [0.05]], dtype=torch.float64)
    assert match(iou, 0.7, (0.1, 0.3), False).tolist() == [0, IGNORED, BACKGROUND, IGNORED]


def test_no_objects_and_no_boxes() -> None:
    assert match(torch.zeros(3, 0), 0.7, (0.0, 0.3), True).tolist() == [BACKGROUND] * 3
    assert match(torch.zeros(3, 0), 0.7, (0.1, 0.3), True).tolist() == [IGNORED] * 3
    assert match(torch.zeros(0, 2), 0.7, (0.0, 0.3), True).shape == (0,)
    assert match(torch.zeros(0, 0), 0.7, (0.0, 0.3), True).dtype == torch.int64
