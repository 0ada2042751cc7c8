"""Checks of single boxes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from detkit.annotations.coordinates import Boxes, corners_to_xywh
from detkit.annotations.validity import kinds_of_boxes
from detkit.checks.findings import Finding, found
from detkit.checks.sizes import Sizes
from detkit.checks.survey import UNKNOWN, Arrays, Survey

TINY_PX = 3.0
LONGEST_BOX = 25.0
"""Sides of a box in a ratio of more than this are more often a slip of the mouse than an object."""
FRACTION_LIMIT = 2.0
"""A number of YOLO's that is larger than this is no fraction that reaches a bit too far, but pixels."""

_KINDS = ("", "not_finite", "degenerate_box", "normalised_box", "outside_box")
_PER_MESSAGE = {
    "not_finite": "a coordinate is not a finite number",
    "degenerate_box": "the box has no width or no height",
    "swapped_corners": "the box ends before it begins",
    "normalised_box": "every coordinate is at most 1, so they look like fractions of the image, not pixels",
    "pixel_box": "coordinates are far above 1, so they look like pixels, not fractions of the image",
    "outside_box": "the box reaches beyond the image",
    "tiny_box": f"the box has a side of less than {TINY_PX:g} px",
    "extreme_aspect": f"one side is more than {LONGEST_BOX:g} times the other",
}
_FORMS = {"voc": "x1 y1 x2 y2, 1-based", "coco": "x y width height", "yolo": "cx cy width height, fractions"}


def box_faults(objects: Arrays, sizes: Sizes) -> NDArray[np.str_]:
    """Return the (M,) kind of fault of each box, empty for a good one.

    What a training refuses is found by the very function that refuses it. A box that fits the annotated size
    of its image is not blamed for the image's being another.
    """
    seen, drawn_on = sizes.of_objects(objects)
    corners = objects.corners(seen)
    numbers = np.minimum(_numbers(objects, corners, seen), _numbers(objects, corners, drawn_on))
    kinds = np.asarray(_KINDS, dtype="<U20")[numbers]
    x1, y1, x2, y2 = corners.T
    with np.errstate(invalid="ignore"):
        swapped = (kinds == "degenerate_box") & ((x2 < x1) | (y2 < y1)) & (x2 != x1) & (y2 != y1)
        pixels = objects.is_yolo & (np.abs(objects.boxes) > FRACTION_LIMIT).any(axis=1) & (numbers != 1)
    kinds[swapped] = "swapped_corners"
    kinds[objects.is_yolo & (kinds == "normalised_box")] = ""
    kinds[pixels] = "pixel_box"
    kinds[~objects.whole] = ""
    return kinds


def _numbers(objects: Arrays, corners: Boxes, sizes: NDArray[np.int64]) -> NDArray[np.int8]:
    voc = objects.is_voc
    numbers = np.zeros(len(corners), dtype=np.int8)
    numbers[voc] = kinds_of_boxes(objects.boxes[voc], "voc", sizes[voc].astype(np.int32))
    rest = ~voc
    numbers[rest] = kinds_of_boxes(corners_to_xywh(corners[rest]), "coco", sizes[rest].astype(np.int32))
    # A YOLO box of an image that cannot be read has no size in pixels.
    unknown = objects.is_yolo & (sizes <= 0).any(axis=1) & np.isfinite(objects.boxes).all(axis=1)
    numbers[unknown] = 0
    return numbers


def odd_boxes(objects: Arrays, sizes: Sizes, faults: NDArray[np.str_]) -> NDArray[np.str_]:
    """Return the (M,) kind of warning that each good box deserves, empty for most."""
    seen, _ = sizes.of_objects(objects)
    sides = corners_to_xywh(objects.corners(seen))[:, 2:]
    good = (faults == "") & objects.whole & (seen > 0).all(axis=1)
    kinds = np.full(len(sides), "", dtype="<U20")
    with np.errstate(invalid="ignore"):
        kinds[good & (sides.max(axis=1, initial=0) > LONGEST_BOX * sides.min(axis=1, initial=np.inf))] = (
            "extreme_aspect"
        )
        kinds[good & (sides < TINY_PX).any(axis=1)] = "tiny_box"
    return kinds


def check_boxes(survey: Survey, objects: Arrays, sizes: Sizes, kinds: NDArray[np.str_]) -> Iterator[Finding]:
    """Yield a finding for each box with a fault or a warning.

    Args:
        survey: the annotations.
        objects: of the survey.
        sizes: of its images.
        kinds: (M,) kind of each box, empty for none.
    """
    for row in np.flatnonzero(kinds != "").tolist():
        owner, kind = survey.owners[row], str(kinds[row])
        if owner == UNKNOWN:
            continue
        message = _PER_MESSAGE[kind]
        if kind == "outside_box" and objects.is_voc[row] and objects.boxes[row, :2].min() == 0:
            message += " (VOC counts pixels from 1; a 0 suggests that this box is 0-based)"
        form = _FORMS[survey.groups[survey.group[owner]].format]
        box = ", ".join(f"{value:g}" for value in objects.boxes[row])
        height, width = sizes.seen[owner]
        yield found(
            kind,
            survey.sources[owner],
            survey.object_name(row),
            f"{survey.files[owner].name}: {message}: [{box}] ({form}), image {width} x {height}",
            objects=[row],
        )
