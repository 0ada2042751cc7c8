from __future__ import annotations

import math

import torch

from detkit.models.roi.selection import Selection

BOXES = torch.tensor(
    [[0.0, 0.0, 10.0, 10.0], [1.0, 0.0, 11.0, 10.0], [20.0, 20.0, 40.0, 40.0], [50.0, 50.0, 60.0, 60.0]]
)
SCORES = torch.tensor([[0.9, 0.1], [0.8, 0.7], [0.3, 0.6], [0.1, 0.95]])
STILL = torch.zeros(4, 1, 4)


def test_the_best_of_each_class_that_no_better_one_overlaps() -> None:
    found = Selection(0.2, 0.3, 100)(BOXES, SCORES, STILL, (64, 64))
    assert list(zip(found.labels.tolist(), found.boxes[:, 0].tolist(), strict=True)) == [
        (1, 50.0),
        (0, 0.0),
        (1, 1.0),
        (1, 20.0),
        (0, 20.0),
    ]
    torch.testing.assert_close(found.scores, torch.tensor([0.95, 0.9, 0.7, 0.6, 0.3]))
    assert found.margins is None
    margins = Selection(0.2, 0.3, 100)(BOXES, SCORES, STILL, (64, 64), 10 * SCORES).margins
    torch.testing.assert_close(margins, torch.tensor([9.5, 9.0, 7.0, 6.0, 3.0]))


def test_only_the_best_regions_of_a_class_are_looked_at() -> None:
    found = Selection(0.0, 1.0, 2)(BOXES, SCORES, STILL, (64, 64))
    assert sorted(zip(found.labels.tolist(), found.boxes[:, 0].tolist(), strict=True)) == [
        (0, 0.0),
        (0, 1.0),
        (1, 1.0),
        (1, 50.0),
    ]


def test_each_class_moves_a_region_by_its_own_regression_and_the_image_ends_it() -> None:
    deltas = torch.zeros(4, 2, 4)
    deltas[2, 0] = torch.tensor([0.5, 0.0, math.log(2.0), 0.0])
    deltas[3, 1] = torch.tensor([1.0, 0.0, 0.0, 0.0])
    found = Selection(0.29, 0.3, 100)(BOXES, SCORES, deltas, (64, 64))
    boxes = {
        (label, round(score, 2)): box
        for label, score, box in zip(
            found.labels.tolist(), found.scores.tolist(), found.boxes.tolist(), strict=True
        )
    }
    assert boxes[0, 0.3] == [20.0, 20.0, 60.0, 40.0]  # centre 30 + 10, width 40
    assert boxes[1, 0.6] == [20.0, 20.0, 40.0, 40.0]
    assert boxes[1, 0.95] == [60.0, 50.0, 64.0, 60.0]


def test_nothing_above_the_threshold() -> None:
    found = Selection(0.99, 0.3, 100)(BOXES, SCORES, STILL, (64, 64))
    assert found.boxes.shape == (0, 4)


def test_soft_nms_lowers_scores_in_the_place_of_dropping_boxes() -> None:
    found = Selection(0.2, 0.3, None, 4, soft_nms="linear")(BOXES, SCORES, STILL, (64, 64))
    # Boxes 0 and 1 share 90 of 110 pixels: of class 0 the second falls to 0.8 * 20 / 110, and goes.
    torch.testing.assert_close(found.scores, torch.tensor([0.95, 0.9, 0.7, 0.6]))
    low = Selection(0.1, 0.3, None, None, soft_nms="linear")(BOXES, SCORES, STILL, (64, 64))
    assert any(abs(score - 0.8 * 20 / 110) < 1e-6 for score in low.scores.tolist())
    soft = Selection(0.1, 0.3, None, None, soft_nms="gaussian", soft_nms_sigma=1.0)
    scores = soft(BOXES, SCORES, STILL, (64, 64)).scores.tolist()
    assert any(abs(score - 0.8 * math.exp(-((90 / 110) ** 2))) < 1e-6 for score in scores)
