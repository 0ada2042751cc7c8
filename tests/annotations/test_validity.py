from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from detkit.annotations.assembly import Assembly
from detkit.annotations.dataset import AnnotationSet, BoxFormat
from detkit.annotations.validity import apply_box_policy, box_problems
from detkit.errors import UserError


def one_image(
    box_format: BoxFormat, *boxes: tuple[float, ...], size: tuple[int, int] = (30, 40)
) -> AnnotationSet:
    assembly = Assembly(box_format)
    assembly.add_image("empty.jpg", size, "empty.xml")
    assembly.add_image("a.jpg", size, "a.xml")
    for box in boxes:
        assembly.add_object("cat", box)
    return assembly.build(".", ["cat"], [0] * len(boxes), [1])


VALID_VOC = [(1, 1, 40, 30), (7, 7, 7, 7), (40, 30, 40, 30), (1.5, 1.0, 1.75, 9.0)]
VALID_COCO = [(0, 0, 40, 30), (-0.5, 3, 4, 5), (38, 3, 2.9, 5), (0, 0, 1, 1)]
WRONG_VOC = [
    ((0, 1, 5, 5), "outside"),
    ((1, 1, 41, 30), "outside"),
    ((50, 50, 60, 60), "outside"),
    ((9, 1, 7, 5), "degenerate"),
    ((1, np.nan, 7, 5), "not_finite"),
    ((0.1, 0.2, 0.7, 0.9), "normalised"),
    ((0.1, 0.2, 1.0, 0.9), "normalised"),
    ((-90.25, -80.5, -3.5, -2.5), "outside"),  # far below 1, which no fraction is
]
WRONG_COCO = [
    ((-1, 0, 5, 5), "outside"),
    ((38, 3, 3, 5), "outside"),
    ((40, 3, 0.5, 5), "outside"),
    ((3, 3, 0, 5), "degenerate"),
    ((3, 3, 4, -5), "degenerate"),
    ((3, 3, np.inf, 5), "not_finite"),
    ((0.1, 0.2, 0.7, 0.5), "normalised"),
    ((0.1, 0.2, 1.0, 0.5), "normalised"),
    ((-90.25, -80.5, 0.7, 0.5), "outside"),
]


@pytest.mark.parametrize(("box_format", "boxes"), [("voc", VALID_VOC), ("coco", VALID_COCO)])
def test_valid_boxes(box_format: BoxFormat, boxes: list[tuple[float, ...]]) -> None:
    truth = one_image(box_format, *boxes)
    assert box_problems(truth) == []
    for policy in ("error", "clip", "drop"):
        kept, counts = apply_box_policy(truth, policy)
        assert counts == {"clipped": 0, "dropped": 0}
        assert kept.num_objects == len(boxes)


@pytest.mark.parametrize(
    ("box_format", "box", "kind"),
    [("voc", *case) for case in WRONG_VOC] + [("coco", *case) for case in WRONG_COCO],
)
def test_wrong_boxes_are_named(box_format: BoxFormat, box: tuple[float, ...], kind: str) -> None:
    truth = one_image(box_format, (2, 3, 5, 6), box)
    (problem,) = box_problems(truth)
    assert (problem.object, problem.kind) == (1, kind)
    with pytest.raises(UserError) as caught:
        apply_box_policy(truth, "error")
    message = str(caught.value)
    for part in ("a.xml", "image a.jpg", "object 2 (cat)", f"{box[0]:g}, {box[1]:g}", "image 40 x 30"):
        assert part in message
    assert all(choice in message for choice in ("data.invalid_boxes", "error", "clip", "drop"))
    kept, counts = apply_box_policy(truth, "drop")
    assert kept.offsets.tolist() == [0, 0, 1]
    assert counts == {kind: 1, "clipped": 0, "dropped": 1}


def test_a_zero_in_voc_is_explained() -> None:
    truth = one_image("voc", (0, 1, 5, 5))
    with pytest.raises(UserError, match="0-based"):
        apply_box_policy(truth, "error")


def test_clip() -> None:
    truth = one_image("voc", *(box for box, _ in WRONG_VOC))
    kept, counts = apply_box_policy(truth, "clip")
    assert kept.boxes.tolist() == [[1, 1, 5, 5], [1, 1, 40, 30]]
    assert kept.areas.tolist() == [25, 1200]
    assert counts == {
        "outside": 4,
        "degenerate": 1,
        "not_finite": 1,
        "normalised": 2,
        "clipped": 2,
        "dropped": 6,
    }
    kept, counts = apply_box_policy(one_image("coco", *(box for box, _ in WRONG_COCO)), "clip")
    assert kept.boxes.tolist() == [[0, 0, 4, 5], [38, 3, 2, 5]]
    assert counts["dropped"] == 7


def test_rounding_is_cut_under_every_policy_and_the_rest_stays_exact() -> None:
    truth = one_image("coco", (-0.25, 3, 4, 5), (0.1, 0.2, 30.3, 0.7), (38, 3, 2.5, 5))
    kept, _ = apply_box_policy(truth, "error")
    assert kept.boxes.tolist() == [[0, 3, 3.75, 5], [0.1, 0.2, 30.3, 0.7], [38, 3, 2, 5]]


def test_sizes_given_or_unknown() -> None:
    truth = one_image("voc", (1, 1, 400, 300), size=(0, 0))
    assert apply_box_policy(truth, "error")[0].boxes.tolist() == [[1, 1, 400, 300]]
    truth = replace(truth, sizes=np.full((2, 2), 50, dtype=np.int32))
    assert apply_box_policy(truth, "clip")[0].boxes.tolist() == [[1, 1, 50, 50]]


def test_no_boxes() -> None:
    truth = one_image("coco")
    for policy in ("error", "clip", "drop"):
        assert apply_box_policy(truth, policy)[0].boxes.shape == (0, 4)


def test_many_problems_fit_on_a_screen() -> None:
    truth = one_image("voc", *[(0, 1, 5, 5)] * 100)
    with pytest.raises(UserError, match=r"\.\.\. and 95 more\n100 invalid") as caught:
        apply_box_policy(truth, "error")
    assert len(str(caught.value).splitlines()) < 10
