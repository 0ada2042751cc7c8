"""Check whether all boxes of a group are written in another convention than its format has."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detkit.annotations.coordinates import (
    Boxes,
    centred_to_corners,
    corners_to_xywh,
    voc_to_corners,
    xywh_to_corners,
)
from detkit.annotations.found_dataset import Format
from detkit.checks.findings import Finding, found
from detkit.checks.survey import Arrays, Survey

_FEWEST, _SHARE = 2, 0.1  # boxes that must be wrong as declared, and of all
_GOOD = 0.98  # share of the boxes that another reading must make right
_SUSPICIOUS = 10  # boxes that end at the far edges while none begins at the near ones: chance is 1 in 1000

Reading = Callable[[Boxes], Boxes]


def _turned(reading: Reading) -> Reading:
    return lambda boxes: reading(boxes[:, [1, 0, 3, 2]])


READINGS: dict[str, dict[str, Reading]] = {
    "voc": {
        "x y width height": xywh_to_corners,
        "y1 x1 y2 x2": _turned(voc_to_corners),
        "cx cy width height": centred_to_corners,
    },
    "coco": {
        "x1 y1 x2 y2": lambda boxes: boxes,
        "cx cy width height": centred_to_corners,
        "y x height width": _turned(xywh_to_corners),
    },
    "yolo": {
        "x1 y1 x2 y2": lambda boxes: boxes,
        "x y width height": xywh_to_corners,
        "cy cx height width": _turned(centred_to_corners),
    },
}
"""Conventions that boxes may be in, and their conversion to corner boxes (for YOLO in fractions)."""
DECLARED = {"voc": "x1 y1 x2 y2", "coco": "x y width height", "yolo": "cx cy width height"}


@dataclass(frozen=True)
class Explanation:
    """Explanation of the wrong boxes of a group.

    Attributes:
        finding: what is reported; it is about the wrong boxes.
        rows: all R objects of the group that can be rewritten.
        corners: (R, 4) the corner boxes that they should have, in pixels.
    """

    finding: Finding
    rows: NDArray[np.int64]
    corners: Boxes


def explanations(survey: Survey, objects: Arrays, faults: NDArray[np.str_]) -> Iterator[Explanation]:
    """Yield for each group the one thing that explains most of its wrong boxes, where there is one.

    Args:
        survey: the annotations.
        objects: of the survey.
        faults: (M,) kind of fault of each box by itself.
    """
    usable = objects.whole & np.isfinite(objects.boxes).all(axis=1) & (objects.drawn_on > 0).all(axis=1)
    usable &= ~np.isin(faults, ["normalised_box", "pixel_box"])
    for number, group in enumerate(survey.groups):
        rows = np.flatnonzero(usable & (objects.group == number))
        wrong = rows[faults[rows] != ""]
        limit = np.tile(objects.drawn_on[rows][:, ::-1], 2).astype(np.float64)
        explained = None
        if group.format != "yolo" and len(wrong) and (faults[wrong] == "outside_box").all():
            explained = _shifted(group.format, objects.drawn_corners[rows], limit, len(wrong))
        if explained is None and len(wrong) >= max(_FEWEST, _SHARE * len(rows)):
            explained = _other_reading(group.format, objects.boxes[rows], limit, len(wrong))
        if explained is not None:
            kind, message, corners = explained
            yield Explanation(found(kind, group.place, None, message, objects=wrong), rows, corners)


def _shifted(form: Format, corners: Boxes, limit: Boxes, num_wrong: int) -> tuple[str, str, Boxes] | None:
    """Return kind, message and right boxes where a pixel more or less makes all of a group's boxes right."""
    if ((corners >= 0) & (corners <= limit)).all():
        return None
    for by in (1, -1):
        moved = corners + by
        if not ((moved >= 0) & (moved <= limit)).all():
            continue
        counted = "from 0, and VOC counts from 1" if by == 1 else "from 1 more than they should be"
        if form == "coco":
            counted = "from 1, and COCO counts from 0" if by == -1 else "from 1 less than they should be"
        message = (
            f"{num_wrong} of {len(corners)} boxes leave their image by one pixel and none would if all were "
            f"moved by {by:+d} px: pixels are counted {counted}"
        )
        return "off_by_one", message, moved
    return None


def _other_reading(form: Format, boxes: Boxes, limit: Boxes, num_wrong: int) -> tuple[str, str, Boxes] | None:
    """Return kind, message and right boxes where another convention makes nearly all of them valid."""
    scale = limit if form == "yolo" else 1.0
    for name, reading in READINGS[form].items():
        corners = reading(boxes) * scale
        sides = corners_to_xywh(corners)[:, 2:]
        good = (sides > 0).all(axis=1) & (corners > -1).all(axis=1) & (corners < limit + 1).all(axis=1)
        if good.mean() < _GOOD or good.mean() <= 1 - num_wrong / len(boxes):
            continue
        message = (
            f"{num_wrong} of {len(boxes)} boxes are not valid as {DECLARED[form]}, and "
            f"{good.mean():.0%} are as {name}: they seem to be written so"
        )
        return "box_convention", message, corners
    return None


def suspected_shifts(survey: Survey, objects: Arrays, faults: NDArray[np.str_]) -> Iterator[Finding]:
    """Yield groups many of whose boxes touch the far edges of their images and none the near ones."""
    usable = objects.whole & (objects.drawn_on > 0).all(axis=1) & (faults == "") & ~objects.is_yolo
    for number, group in enumerate(survey.groups):
        rows = usable & (objects.group == number)
        corners, limit = objects.drawn_corners[rows], objects.drawn_on[rows][:, ::-1]
        far = int((corners[:, 2:] >= limit - 0.5).any(axis=1).sum())
        near = int((corners[:, :2] < 0.5).any(axis=1).sum())
        if max(far, near) >= _SUSPICIOUS and min(far, near) == 0:
            edges = ("right or lower", "left or upper")
            touched, other = edges if far else edges[::-1]
            message = (
                f"{max(far, near)} of {int(rows.sum())} boxes touch the {touched} edge of their image and "
                f"none the {other} one: are pixels counted from {1 if far else 0} here?"
            )
            yield found("off_by_one_suspected", group.place, None, message)
