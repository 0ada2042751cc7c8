from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from detkit.explain.lives import OUTCOMES, Scene, in_file_pixels
from detkit.structures import Trace

STEPS = ("pre_nms", "proposal_nms", "post_nms", "score", "per_class", "no_area", "nms", "per_image")
PRE_NMS, PROPOSAL_NMS, POST_NMS, SCORE, _, _, NMS, PER_IMAGE, REPORTED = range(len(STEPS) + 1)
OBJECT = [10.0, 10, 50, 50]
OVER, HALF, AWAY = OBJECT, [10.0, 10, 50, 26], [70.0, 70, 90, 90]
CAT, DOG = 0, 1


def scene(*rows: tuple[list[float], list[float], int, float, int], **more: Any) -> Scene:
    """Return a scene of rows: region, box, class, score, and what dropped it."""
    regions, boxes, labels, scores, dropped = zip(*rows, strict=True)
    none = torch.full((len(rows),), -1)
    trace = Trace(
        STEPS,
        torch.tensor(regions),
        torch.tensor(boxes),
        torch.tensor(labels),
        torch.tensor(scores),
        torch.tensor(dropped),
        none,
    )
    return Scene(trace._replace(**more), ("cat", "dog"), torch.tensor([0.5, 0.25]))


def outcome(of: Scene, *, found: bool = False, label: int = CAT) -> tuple[str, int | None]:
    life = of.life(torch.tensor(OBJECT), label, found=found)
    return life.outcome, life.row


@pytest.mark.parametrize(
    ("step", "told"),
    [
        (PRE_NMS, "pre_nms"),
        (PROPOSAL_NMS, "proposal_nms"),
        (POST_NMS, "post_nms"),
        (NMS, "nms"),
        (PER_IMAGE, "per_image"),
        (REPORTED, "taken"),
    ],
)
def test_an_object_is_lost_where_the_last_of_its_boxes_was_dropped(step: int, told: str) -> None:
    first = (OVER, OVER, CAT, 0.9, PRE_NMS)
    last = (HALF, OVER, CAT, 0.6, step)
    assert outcome(scene(first, last)) == (told, 1 if step > PRE_NMS else 0)


def test_boxes_of_low_scores_or_other_classes_or_elsewhere_do_not_count_as_its_own() -> None:
    low, other = (OVER, OVER, CAT, 0.49, REPORTED), (OVER, OVER, DOG, 0.2, REPORTED)
    away = (AWAY, AWAY, CAT, 0.9, REPORTED)
    assert outcome(scene(low, other, away)) == ("rejected", 0)


def test_another_class_that_is_reported_there_comes_before_a_low_score() -> None:
    low, other = (OVER, OVER, CAT, 0.49, SCORE), (OVER, OVER, DOG, 0.3, REPORTED)
    assert outcome(scene(low, other)) == ("wrong_class", 1)
    assert outcome(scene(low, (OVER, OVER, DOG, 0.3, NMS))) == ("rejected", 0)
    assert outcome(scene(low, other), label=DOG, found=True) == ("found", 1)


def test_a_region_that_reaches_it_with_a_box_that_does_not() -> None:
    assert outcome(scene((OVER, HALF, CAT, 0.9, REPORTED))) == ("poor_box", 0)


def test_nothing_reaches_it() -> None:
    assert outcome(scene((HALF, HALF, CAT, 0.9, REPORTED), (AWAY, AWAY, CAT, 0.9, REPORTED))) == (
        "not_proposed",
        0,
    )


def test_without_any_candidate_of_its_class_there_is_none_to_show() -> None:
    of = scene((AWAY, AWAY, DOG, 0.9, REPORTED))
    life = of.life(torch.tensor(OBJECT), CAT, found=False)
    assert (life.outcome, life.row) == ("not_proposed", None)
    assert [stage.name for stage in of.stages(life)] == ["image", "outcome"]


def slow_outcome(rows: list[tuple[list[float], list[float], int, float, int]]) -> str:
    """Return what became of the cat, by the words of the documentation, one candidate at a time."""

    def iou(a: list[float], b: list[float]) -> float:
        across, down = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
        shared = max(across, 0) * max(down, 0)
        areas = [(c[2] - c[0]) * (c[3] - c[1]) for c in (a, b)]
        return shared / (sum(areas) - shared)

    steps = [d for _, box, c, s, d in rows if c == CAT and s >= 0.5 and iou(box, OBJECT) >= 0.5]
    if steps:
        name = (*STEPS, "taken")[max(steps)]
        return "rejected" if name == "score" else name
    if any(c == DOG and s >= 0.25 and d == REPORTED and iou(b, OBJECT) >= 0.5 for _, b, c, s, d in rows):
        return "wrong_class"
    if any(c == CAT and iou(box, OBJECT) >= 0.5 for _, box, c, _, _ in rows):
        return "rejected"
    if any(c == CAT and iou(region, OBJECT) >= 0.5 for region, _, c, _, _ in rows):
        return "poor_box"
    return "not_proposed"


def test_outcomes_of_random_candidates_are_those_of_the_words() -> None:
    chance = torch.Generator().manual_seed(0)
    seen = set()

    def box() -> list[float]:
        corner = torch.rand(2, generator=chance) * 25
        return torch.cat([corner, corner + 15 + torch.rand(2, generator=chance) * 30]).tolist()

    for _ in range(300):
        rows = []
        for _ in range(int(torch.randint(1, 4, (1,), generator=chance))):
            label, step = (
                int(torch.rand(1, generator=chance) < 0.4),
                int(torch.randint(0, 9, (1,), generator=chance)),
            )
            rows.append((box(), box(), label, float(torch.rand(1, generator=chance)), step))
        told, _ = outcome(scene(*rows))
        assert told == slow_outcome(rows)
        seen.add(told)
    assert seen >= {"wrong_class", "rejected", "poor_box", "not_proposed", "nms", "proposal_nms", "taken"}
    assert seen <= set(OUTCOMES)


def test_steps_say_what_suppressed_the_box() -> None:
    rows = [(OVER, OVER, CAT, 0.6, NMS), (HALF, HALF, CAT, 0.9, REPORTED)]
    of = scene(*rows, by=torch.tensor([1, -1]))
    said = {stage.name: stage.text for stage in of.stages(of.life(torch.tensor(OBJECT), CAT, found=False))}
    assert said["suppression"] == "suppressed by cat 0.900, IoU 0.40"
    assert said["region"] == "the region has IoU 1.00, the best that was looked at 1.00"
    assert said["scores"] == "cat 0.600; cat counts from 0.500 on"
    assert said["outcome"] == OUTCOMES["nms"]


def test_steps_of_a_proposal_say_its_objectness_and_rank_and_its_anchor() -> None:
    rows = [(OVER, OVER, CAT, 0.6, PROPOSAL_NMS), (HALF, HALF, CAT, 0.2, REPORTED)]
    more: dict[str, Tensor] = {
        "by": torch.tensor([1, -1]),
        "objectness": torch.tensor([0.25, 0.75]),
        "ranks": torch.tensor([11, 0]),
        "anchors": torch.tensor([HALF, AWAY]),
        "levels": torch.tensor([2, 0]),
        "between": torch.tensor([[HALF, AWAY]]),
    }
    of = scene(*rows, **more)
    said = {stage.name: stage.text for stage in of.stages(of.life(torch.tensor(OBJECT), CAT, found=False))}
    assert said["anchor"] == "the anchor has IoU 0.40"
    assert "objectness 0.250, number 12 of its map; dropped: its proposal was suppressed" in said["region"]
    assert said["scores"].endswith("read from map 3")
    assert said["box"] == "IoU 1.00 -> 0.40 -> 1.00"
    assert said["suppression"].startswith("suppressed by a proposal of objectness 0.750, IoU 0.40")


def test_a_trace_is_moved_into_pixels_of_the_file() -> None:
    trace = scene((OVER, HALF, CAT, 0.9, REPORTED)).trace._replace(between=torch.tensor([[OVER]]))
    moved = in_file_pixels(trace, (100, 200), (50, 400))
    assert moved.regions.tolist() == [[20, 5, 100, 25]]
    assert moved.boxes.tolist() == [[20, 5, 100, 13]]
    assert moved.between is not None
    assert moved.between.tolist() == [[[20, 5, 100, 25]]]
    assert moved.scores.tolist() == trace.scores.tolist()
