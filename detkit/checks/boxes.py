"""Checks of boxes: each by itself, those that share a place, and images without any."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from detkit.annotations.coordinates import corners_to_xywh
from detkit.annotations.validity import kinds_of_boxes
from detkit.checks.findings import Finding, found
from detkit.checks.survey import UNKNOWN, Arrays, Survey
from detkit.data.config import DataConfig
from detkit.names import counted

TINY_PX = 3.0
LONGEST_BOX = 25.0
"""Sides of a box in a ratio of more than this are more often a slip of the mouse than an object."""
FRACTION_LIMIT = 2.0
"""A number of YOLO's that is larger than this is no fraction that reaches a bit too far, but pixels."""

_STEP_PX = 0.01  # boxes closer than this are the same
_FARTHEST_PX = 1e12  # what is beyond is as far, and still a whole number
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
_HANDLED = {
    ("outside_box", "clip"): "is cut to the image, and left out where no area is left",
    ("outside_box", "drop"): "is left out",
    ("degenerate_box", "clip"): "is left out",
    ("degenerate_box", "drop"): "is left out",
}
_FORMS = {"voc": "x1 y1 x2 y2, 1-based", "coco": "x y width height", "yolo": "cx cy width height, fractions"}


def box_faults(objects: Arrays) -> NDArray[np.str_]:
    """Return the (M,) kind of fault of each box, empty for a good one.

    What a training refuses is found by the very function that refuses it. A box that fits the annotated size
    of its image is not blamed for the image's being another.
    """
    numbers = np.minimum(_numbers(objects, objects.seen), _numbers(objects, objects.drawn_on))
    kinds = np.asarray(_KINDS, dtype="<U20")[numbers]
    x1, y1, x2, y2 = objects.corners.T
    with np.errstate(invalid="ignore"):
        swapped = (kinds == "degenerate_box") & ((x2 < x1) | (y2 < y1)) & (x2 != x1) & (y2 != y1)
        pixels = objects.is_yolo & (np.abs(objects.boxes) > FRACTION_LIMIT).any(axis=1) & (numbers != 1)
    kinds[swapped] = "swapped_corners"
    kinds[objects.is_yolo & (kinds == "normalised_box")] = ""
    kinds[pixels] = "pixel_box"
    kinds[~objects.whole] = ""
    return kinds


def _numbers(objects: Arrays, sizes: NDArray[np.int64]) -> NDArray[np.int8]:
    voc = objects.is_voc
    numbers = np.zeros(len(voc), dtype=np.int8)
    numbers[voc] = kinds_of_boxes(objects.boxes[voc], "voc", sizes[voc].astype(np.int32))
    rest = ~voc
    numbers[rest] = kinds_of_boxes(
        corners_to_xywh(objects.corners[rest]), "coco", sizes[rest].astype(np.int32)
    )
    # A YOLO box of an image that cannot be read has no size in pixels.
    unknown = objects.is_yolo & (sizes <= 0).any(axis=1) & np.isfinite(objects.boxes).all(axis=1)
    numbers[unknown] = 0
    return numbers


def odd_boxes(objects: Arrays, faults: NDArray[np.str_]) -> NDArray[np.str_]:
    """Return the (M,) kind of warning that each good box deserves, empty for most."""
    sides = corners_to_xywh(objects.corners)[:, 2:]
    good = (faults == "") & objects.whole & (objects.seen > 0).all(axis=1)
    kinds = np.full(len(sides), "", dtype="<U20")
    with np.errstate(invalid="ignore"):
        long = sides.max(axis=1, initial=0) > LONGEST_BOX * sides.min(axis=1, initial=np.inf)
        kinds[good & long] = "extreme_aspect"
        kinds[good & (sides < TINY_PX).any(axis=1)] = "tiny_box"
    return kinds


def check_boxes(
    survey: Survey, objects: Arrays, kinds: NDArray[np.str_], wanted: DataConfig | None
) -> Iterator[Finding]:
    """Yield a finding for each box with a fault or a warning.

    A fault that `data.invalid_boxes` deals with is marked as handled; without a config this is `clip`, which
    `detkit init` writes for such boxes.

    Args:
        survey: the annotations.
        objects: of the survey.
        kinds: (M,) kind of each box, empty for none.
        wanted: has the policy of a config; None where there is none.
    """
    policy = "clip" if wanted is None else wanted.invalid_boxes
    key = f"data.invalid_boxes: {policy}" + (", as detkit init writes it" if wanted is None else "")
    for row in np.flatnonzero(kinds != "").tolist():
        owner, kind = survey.owners[row], str(kinds[row])
        if owner == UNKNOWN:
            continue
        message = _PER_MESSAGE[kind]
        if kind == "outside_box" and objects.is_voc[row] and objects.boxes[row, :2].min() == 0:
            message += " (VOC counts pixels from 1; a 0 suggests that this box is 0-based)"
        form = _FORMS.get(survey.groups[survey.group[owner]].format, _FORMS["coco"])
        box = ", ".join(f"{value:g}" for value in objects.boxes[row])
        height, width = objects.seen[row]
        message = f"{survey.files[owner].name}: {message}: [{box}] ({form}), image {width} x {height}"
        done = _HANDLED.get((kind, policy))
        message += f"; in training it {done} ({key})" if done else ""
        yield replace(survey.about_object(kind, row, message), handled=done is not None)


def check_repeats(survey: Survey, objects: Arrays) -> Iterator[Finding]:
    """Yield objects with the same box as an earlier one of their image, of the same class or another.

    Args:
        survey: the annotations.
        objects: of the survey.
    """
    known = np.isfinite(objects.corners).all(axis=1) & (objects.seen > 0).all(axis=1)
    rows = np.flatnonzero((objects.owners != UNKNOWN) & known & objects.whole & ~objects.crowd)
    near = np.clip(objects.corners[rows], -_FARTHEST_PX, _FARTHEST_PX)
    keys = np.round(near / _STEP_PX).astype(np.int64)
    order = np.lexsort((rows, *keys.T, objects.owners[rows]))
    rows, keys = rows[order], keys[order]
    if len(rows) < 2:
        return
    same = (keys[1:] == keys[:-1]).all(axis=1) & (objects.owners[rows[1:]] == objects.owners[rows[:-1]])
    starts = np.concatenate([[0], np.flatnonzero(~same) + 1, [len(rows)]])
    for at in np.flatnonzero(np.diff(starts) > 1).tolist():
        yield from _one_place(survey, rows[starts[at] : starts[at + 1]].tolist())


def _one_place(survey: Survey, rows: list[int]) -> Iterator[Finding]:
    """Yield what is wrong with objects that share a box."""
    first: dict[int, int] = {}
    for row in rows:
        label, image = survey.labels[row], survey.files[survey.owners[row]].name
        if label in first:
            message = f"{image}: the same box and class as {survey.object_name(first[label])}"
            yield survey.about_object("duplicate_box", row, message)
        elif first:
            other = next(iter(first.values()))
            message = f"{image}: the same box as {survey.object_name(other)}, of another class"
            yield survey.about_object("conflicting_class", row, message)
        first.setdefault(label, row)


def check_empty(survey: Survey, objects: Arrays) -> Iterator[Finding]:
    """Yield images without objects, and training splits without any."""
    counts = np.bincount(objects.owners[objects.owners != UNKNOWN], minlength=len(survey.files))
    for image in np.flatnonzero(counts == 0).tolist():
        if survey.annotated[image]:
            name = survey.files[image].name
            message = f"{name} has no objects; it is kept as background"
            yield found("empty_image", survey.sources[image], name, message, images=[image])
    if survey.files and not counts.any():
        yield found(
            "no_objects", survey.sources[0], None, f"{counted(len(survey.files), 'image')}, but no object"
        )
    elif survey.files:
        for part, images in survey.parts.items():
            if images and not counts[images].any():
                message = f"{counted(len(images), 'image')}, but no object"
                yield found("no_objects", survey.sources[images[0]], part, message)
