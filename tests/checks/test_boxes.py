"""Boxes at the limits, and those that share a place."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from detkit.annotations.detect import Format
from detkit.checks.boxes import box_faults, check_boxes, check_empty, check_repeats, odd_boxes
from detkit.checks.conventions import explanations, suspected_shifts
from tests.checks.small_surveys import PLACE, survey_of, told

Box = Sequence[float]


def kinds(form: Format, *boxes: Box) -> list[str]:
    """Return the fault of each box of a 200 x 100 image, or what is odd about it."""
    _, objects = survey_of([(0, "cat", box) for box in boxes], {"train": [0]}, form)
    faults = box_faults(objects)
    return np.where(faults == "", odd_boxes(objects, faults), faults).tolist()


@pytest.mark.parametrize(
    ("box", "kind"),
    [
        ((10, 10, 3, 3), ""),
        ((10, 10, 2.99, 30), "tiny_box"),
        ((10, 10, 30, 2.99), "tiny_box"),
        ((10, 10, 100, 4), ""),
        ((10, 10, 100, 3.99), "extreme_aspect"),
        ((10, 10, 3.2, 81), "extreme_aspect"),
        ((0, 0, 200, 100), ""),
        ((0, 0, 200, 101), "outside_box"),
        ((10, 10, 0, 30), "degenerate_box"),
        ((10, 10, 0, -30), "degenerate_box"),  # nothing to swap back
        ((40, 10, -5, 30), "swapped_corners"),
        ((10, 40, 5, -30), "swapped_corners"),
        ((10, 10, np.nan, 30), "not_finite"),
        ((0.1, 0.1, 0.5, 0.5), "normalised_box"),
        ((0, 0, 1, 1), "tiny_box"),  # one pixel
    ],
)
def test_a_box_of_coco(box: Box, kind: str) -> None:
    assert kinds("coco", box) == [kind]


@pytest.mark.parametrize(
    ("box", "kind"),
    [
        ((0.5, 0.5, 0.4, 0.4), ""),
        ((1.5, 0.5, 2, 0.4), "outside_box"),
        ((1.5, 0.5, 2.01, 0.4), "pixel_box"),
        ((-2.01, 0.5, 0.4, 0.4), "pixel_box"),
        ((0.5, 0.5, 0, 0.4), "degenerate_box"),
        ((3, np.nan, 3, 3), "not_finite"),
    ],
)
def test_a_box_of_yolo(box: Box, kind: str) -> None:
    assert kinds("yolo", box) == [kind]


def test_a_box_of_voc_that_begins_at_0_is_told_to_be_counted_from_0() -> None:
    survey, objects = survey_of(
        [(0, "cat", (0, 5, 30, 40)), (0, "dog", (5, 5, 201, 40)), (0, "dog", (5, 0, 30, 40))],
        {"train": [0]},
        "voc",
    )
    hint = " (VOC counts pixels from 1; a 0 suggests that this box is 0-based)"
    assert told(check_boxes(survey, objects, box_faults(objects))) == [
        (
            "outside_box",
            f"object {number} ({name})",
            f"0.jpg: the box reaches beyond the image{more}: [{box}] (x1 y1 x2 y2, 1-based), image 200 x 100",
        )
        for number, name, more, box in (
            (1, "cat", hint, "0, 5, 30, 40"),
            (2, "dog", "", "5, 5, 201, 40"),
            (3, "dog", hint, "5, 0, 30, 40"),
        )
    ]


def test_a_box_without_an_image_is_told_elsewhere() -> None:
    survey, objects = survey_of([(-1, "cat", (5, 5, 0, 0)), (0, "cat", (5, 5, 0, 3))], {"train": [0]})
    found = list(check_boxes(survey, objects, box_faults(objects)))
    assert [finding.objects for finding in found] == [(1,)]


def test_objects_that_share_a_box_are_told_by_the_first() -> None:
    box = (10, 10, 30, 30)
    near, next_one = (10.004, 10, 30, 30), (10.02, 10, 30, 30)
    rows = [(0, "cat", box), (1, "cat", box), (0, "dog", box), (0, "cat", near), (0, "dog", next_one)]
    survey, objects = survey_of([*rows, (0, "dog", box)], {"train": [0, 1]})
    assert told(check_repeats(survey, objects)) == [
        (
            "conflicting_class",
            "annotation 3 (dog)",
            "0.jpg: the same box as annotation 1 (cat), of another class",
        ),
        ("duplicate_box", "annotation 4 (cat)", "0.jpg: the same box and class as annotation 1 (cat)"),
        ("duplicate_box", "annotation 6 (dog)", "0.jpg: the same box and class as annotation 3 (dog)"),
    ]


def test_two_objects_are_enough_to_share_a_box() -> None:
    pair = [(0, "cat", (10, 10, 30, 30))] * 2
    survey, objects = survey_of(pair, {"train": [0]})
    assert [finding.objects for finding in check_repeats(survey, objects)] == [(1,)]
    survey, objects = survey_of(pair[:1], {"train": [0]})
    assert list(check_repeats(survey, objects)) == []


def test_images_and_parts_without_objects_are_told() -> None:
    box = (10, 10, 30, 30)
    survey, objects = survey_of([(0, "cat", box)], {"train": [0], "val": [1], "test": [2, 3], "none": []})
    survey.annotated[2] = False
    assert told(check_empty(survey, objects)) == [
        ("empty_image", "1.jpg", "1.jpg has no objects; it is kept as background"),
        ("empty_image", "3.jpg", "3.jpg has no objects; it is kept as background"),
        ("no_objects", "val", "1 image, but no object"),
        ("no_objects", "test", "2 images, but no object"),
    ]
    survey, objects = survey_of([], {"train": [0], "val": [1]})
    assert told(check_empty(survey, objects))[2:] == [("no_objects", None, "2 images, but no object")]
    assert list(check_empty(*survey_of([], {}))) == []


def explained(form: Format, boxes: Sequence[Box]) -> list[tuple[str, list[list[float]]]]:
    survey, objects = survey_of([(0, "cat", box) for box in boxes], {"train": [0]}, form)
    found = list(explanations(survey, objects, box_faults(objects)))
    assert all(item.finding.file == str(PLACE) for item in found)
    return [(item.finding.message, item.corners.tolist()) for item in found]


def test_boxes_that_are_all_off_by_one_pixel_are_moved() -> None:
    [(said, corners)] = explained("coco", [(-1, 5, 20, 20), (5, -1, 20, 20), (5, 5, 20, 20)])
    assert said == (
        "2 of 3 boxes leave their image by one pixel and none would if all were moved by +1 px: pixels are "
        "counted from 1 less than they should be"
    )
    assert corners == [[0, 6, 20, 26], [6, 0, 26, 20], [6, 6, 26, 26]]
    [(said, corners)] = explained("voc", [(5, 5, 201, 20), (5, 5, 20, 101)])
    assert said == (
        "2 of 2 boxes leave their image by one pixel and none would if all were moved by -1 px: pixels are "
        "counted from 1 more than they should be"
    )
    assert corners == [[3, 3, 200, 19], [3, 3, 19, 100]]


def test_boxes_that_leave_the_image_at_both_sides_are_not_moved() -> None:
    assert explained("coco", [(-1, 5, 20, 20), (5, 5, 196, 20)]) == []
    assert explained("coco", [(-1, 5, 20, 20), (5, 5, 195, 20)]) == []  # moved, it would leave on the right


def test_another_reading_must_make_nearly_all_right() -> None:
    boxes = [(100 + n, 60, 150 + n, 90) for n in range(4)]
    [(said, corners)] = explained("coco", boxes)
    assert said == (
        "4 of 4 boxes are not valid as x y width height, and 100% are as x1 y1 x2 y2: they seem to be "
        "written so"
    )
    assert corners == [list(box) for box in boxes]
    assert explained("coco", boxes[:1]) == []  # one box may be a slip
    assert explained("coco", [*boxes, (150, 60, 120, 90)]) == []  # is none in that reading
    few = [(10, 10, 20 + n, 20) for n in range(19)]
    assert len(explained("coco", [*few[:18], *boxes[:2]])) == 1  # one in ten is wrong
    assert explained("coco", [*few, *boxes[:2]]) == []  # less


@pytest.mark.parametrize(
    ("far", "near", "sides", "first"),
    [
        (10, 0, ("right or lower", "left or upper"), 1),
        (0, 10, ("left or upper", "right or lower"), 0),
        (9, 0, (), 0),
        (10, 1, (), 0),
    ],
)
def test_boxes_that_touch_the_far_edges_alone_are_suspected(
    far: int, near: int, sides: Sequence[str], first: int
) -> None:
    boxes = [(10 + n, 10, 190 - n, 20) for n in range(far)] + [(0, 10 + n, 50, 20) for n in range(near)]
    boxes += [(20 + n, 20, 30, 30) for n in range(5)]
    survey, objects = survey_of([(0, "cat", box) for box in boxes], {"train": [0]})
    found = told(suspected_shifts(survey, objects, box_faults(objects)))
    said = "10 of 15 boxes touch the {} edge of their image and none the {} one: "
    said += "are pixels counted from {} here?"
    assert found == ([("off_by_one_suspected", None, said.format(*sides, first))] if sides else [])


def test_of_three_alike_the_last_two_are_told_by_the_first() -> None:
    survey, objects = survey_of([(0, "cat", (10, 10, 30, 30))] * 3, {"train": [0]})
    assert told(check_repeats(survey, objects)) == [
        ("duplicate_box", f"annotation {n} (cat)", "0.jpg: the same box and class as annotation 1 (cat)")
        for n in (2, 3)
    ]
