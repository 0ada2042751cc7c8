"""Check whether all boxes of a group are written in another convention than its format has."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detkit.annotations.coordinates import Boxes, corners_to_xywh, voc_to_corners, xywh_to_corners
from detkit.checks.findings import Finding, found
from detkit.checks.sizes import Sizes
from detkit.checks.survey import AnnotationGroup, Arrays, Survey

_FEWEST, _SHARE = 2, 0.1  # boxes that must be wrong as declared, and of all
_GOOD = 0.98  # share of the boxes that another reading must make right
_SUSPICIOUS = 10  # boxes that end at the far edges while none begins at the near ones: chance is 1 in 1000

Reading = Callable[[Boxes], Boxes]


def _centred(boxes: Boxes) -> Boxes:
    half = boxes[:, 2:] / 2
    corners: Boxes = np.concatenate([boxes[:, :2] - half, boxes[:, :2] + half], axis=1)
    return corners


def _turned(reading: Reading) -> Reading:
    return lambda boxes: reading(boxes[:, [1, 0, 3, 2]])


def _as_is(boxes: Boxes) -> Boxes:
    return boxes


READINGS: dict[str, dict[str, Reading]] = {
    "voc": {
        "x y width height": xywh_to_corners,
        "y1 x1 y2 x2": _turned(voc_to_corners),
        "cx cy width height": _centred,
    },
    "coco": {
        "x1 y1 x2 y2": _as_is,
        "cx cy width height": _centred,
        "y x height width": _turned(xywh_to_corners),
    },
    "yolo": {
        "x1 y1 x2 y2": _as_is,
        "x y width height": xywh_to_corners,
        "cy cx height width": _turned(_centred),
    },
}
"""Conventions that boxes may be in, and their conversion to corner boxes (for YOLO in fractions)."""
DECLARED = {"voc": "x1 y1 x2 y2", "coco": "x y width height", "yolo": "cx cy width height"}


@dataclass(frozen=True)
class Explanation:
    """Explanation of the wrong boxes of a group.

    Attributes:
        finding: what is reported.
        rows: objects whose faults it explains.
        group: index of the group.
        corners: (R, 4) the corner boxes that `all_rows` should have, in pixels.
        all_rows: all objects of the group that can be rewritten.
    """

    finding: Finding
    rows: NDArray[np.int64]
    group: int
    corners: Boxes
    all_rows: NDArray[np.int64]


def explanations(
    survey: Survey, objects: Arrays, sizes: Sizes, faults: NDArray[np.str_]
) -> Iterator[Explanation]:
    """Yield for each group the one thing that explains most of its wrong boxes, where there is one.

    Args:
        survey: the annotations.
        objects: of the survey.
        sizes: of its images.
        faults: (M,) kind of fault of each box by itself.
    """
    _, drawn_on = sizes.of_objects(objects)
    usable = objects.whole & np.isfinite(objects.boxes).all(axis=1) & (drawn_on > 0).all(axis=1)
    usable &= ~np.isin(faults, ["normalised_box", "pixel_box"])
    for number, group in enumerate(survey.groups):
        rows = np.flatnonzero(usable & (objects.group == number))
        wrong = rows[faults[rows] != ""]
        if not len(rows):
            continue
        message = None
        if group.format != "yolo" and len(wrong) and (faults[wrong] == "outside_box").all():
            message = _shifted(group, number, objects, drawn_on, rows, wrong)
        if message is None and len(wrong) >= max(_FEWEST, _SHARE * len(rows)):
            message = _other_reading(group, number, objects, drawn_on, rows, wrong)
        if message is not None:
            yield message


def _shifted(
    group: AnnotationGroup,
    number: int,
    objects: Arrays,
    sizes: NDArray[np.int64],
    rows: NDArray[np.int64],
    wrong: NDArray[np.int64],
) -> Explanation | None:
    """Return whether one pixel more or less makes every wrong box right and no good one wrong."""
    corners = objects.corners(sizes)[rows]
    limit = np.tile(sizes[rows][:, ::-1], 2)
    inside = ((corners >= 0) & (corners <= limit)).all(axis=1)
    for by in (1, -1):
        moved = corners + by
        if not ((moved >= 0) & (moved <= limit)).all() or inside.all():
            continue
        counted = "from 0, and VOC counts from 1" if by == 1 else "from 1 more than they should be"
        if group.format == "coco":
            counted = "from 1, and COCO counts from 0" if by == -1 else "from 1 less than they should be"
        message = (
            f"{len(wrong)} of {len(rows)} boxes leave their image by one pixel and none would if all were "
            f"moved by {by:+d} px: pixels are counted {counted}"
        )
        finding = found("off_by_one", group.place, None, message, objects=wrong)
        return Explanation(finding, wrong, number, moved, rows)
    return None


def _other_reading(
    group: AnnotationGroup,
    number: int,
    objects: Arrays,
    sizes: NDArray[np.int64],
    rows: NDArray[np.int64],
    wrong: NDArray[np.int64],
) -> Explanation | None:
    boxes, limit = objects.boxes[rows], np.tile(sizes[rows][:, ::-1], 2).astype(np.float64)
    scale = limit if group.format == "yolo" else 1.0
    good_now = 1 - len(wrong) / len(rows)
    for name, reading in READINGS[group.format].items():
        corners = reading(boxes) * scale
        sides = corners_to_xywh(corners)[:, 2:]
        good = (sides > 0).all(axis=1) & (corners > -1).all(axis=1) & (corners < limit + 1).all(axis=1)
        if good.mean() < _GOOD or good.mean() <= good_now:
            continue
        message = (
            f"{len(wrong)} of {len(rows)} boxes are not valid as {DECLARED[group.format]}, and "
            f"{good.mean():.0%} are as {name}: they seem to be written so"
        )
        finding = found("box_convention", group.place, None, message, objects=wrong)
        return Explanation(finding, wrong, number, corners, rows)
    return None


def suspected_shifts(
    survey: Survey, objects: Arrays, sizes: Sizes, faults: NDArray[np.str_]
) -> Iterator[Finding]:
    """Yield groups many of whose boxes touch the far edges of their images and none the near ones."""
    _, drawn_on = sizes.of_objects(objects)
    corners = objects.corners(drawn_on)
    usable = objects.whole & (drawn_on > 0).all(axis=1) & (faults == "") & ~objects.is_yolo
    for number, group in enumerate(survey.groups):
        rows = usable & (objects.group == number)
        limit = drawn_on[rows][:, ::-1]
        far = int((corners[rows, 2:] >= limit - 0.5).any(axis=1).sum())
        near = int((corners[rows, :2] < 0.5).any(axis=1).sum())
        if max(far, near) >= _SUSPICIOUS and min(far, near) == 0:
            touched, other = (
                ("right or lower", "left or upper") if far else ("left or upper", "right or lower")
            )
            message = (
                f"{max(far, near)} of {int(rows.sum())} boxes touch the {touched} edge of their image and "
                f"none the {other} one: are pixels counted from {1 if far else 0} here?"
            )
            yield found("off_by_one_suspected", group.place, None, message)
